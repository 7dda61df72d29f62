"""`python -m services.feed`: serve feed until SIGTERM."""

from recmesh.serving import run
from services.feed.app import build
from services.feed.settings import FeedSettings

if __name__ == "__main__":
    run("feed", FeedSettings, build, lambda settings: settings.feed_port)
