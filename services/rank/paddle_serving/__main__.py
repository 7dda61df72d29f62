"""`python -m services.rank.paddle_serving`: serve the ranker with Paddle Serving until SIGTERM."""

from recmesh.serving import run
from services.rank.paddle_serving.app import build
from services.rank.paddle_serving.releases import SERVICE
from services.rank.paddle_serving.settings import PaddleServingSettings

if __name__ == "__main__":
    run(SERVICE, PaddleServingSettings, build, lambda settings: settings.paddle_serving_port)
