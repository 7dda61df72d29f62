"""`python -m services.um`: serve um until SIGTERM."""

from recmesh.serving import run
from services.um.app import build
from services.um.settings import UmSettings

if __name__ == "__main__":
    run("um", UmSettings, build, lambda settings: settings.um_port)
