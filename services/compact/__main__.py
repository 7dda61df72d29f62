"""`python -m services.compact`: serve all five services until SIGTERM."""

from recmesh.serving import run
from services.compact.app import build
from services.compact.settings import CompactSettings

if __name__ == "__main__":
    run("compact", CompactSettings, build, lambda settings: settings.as_port)
