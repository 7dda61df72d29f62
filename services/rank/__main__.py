"""`python -m services.rank`: serve rank until SIGTERM."""

from recmesh.serving import run
from services.rank.app import build
from services.rank.settings import RankSettings

if __name__ == "__main__":
    run("rank", RankSettings, build, lambda settings: settings.rank_port)
