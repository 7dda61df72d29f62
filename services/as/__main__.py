"""`python -m services.as`: serve as until SIGTERM."""

from recmesh.serving import run

from .app import build
from .settings import AsSettings

if __name__ == "__main__":
    run("as", AsSettings, build, lambda settings: settings.as_port)
