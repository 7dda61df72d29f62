"""`python -m services.recall`: serve recall until SIGTERM."""

from recmesh.serving import run
from services.recall.app import build
from services.recall.settings import RecallSettings

if __name__ == "__main__":
    run("recall", RecallSettings, build, lambda settings: settings.recall_port)
