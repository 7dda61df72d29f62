"""`python -m services.cm`: serve cm until SIGTERM."""

from recmesh.serving import run
from services.cm.app import build
from services.cm.settings import CmSettings

if __name__ == "__main__":
    run("cm", CmSettings, build, lambda settings: settings.cm_port)
