"""The HTML of the pages."""

from pathlib import Path

from jinja2 import Environment

from recmesh.explorer import charts
from recmesh.pages import environment

_DEGRADED = {
    "um": "um did not answer: the profile in the request was used, or popular items",
    "recall": "recall, or a channel of it, did not answer",
    "recall:two_tower": "Milvus did not answer: the other channels did",
    "rank": "rank did not answer in full: the order is that of recall, or rank's own backend",
    "rank:release": "recall and rank answered from different releases",
    "rank:paddle-serving": "Paddle Serving did not answer: ranked in rank's own process",
    "cm": "cm did not answer: items have only their ids",
}


def templates() -> Environment:
    """The templates, with the charts and the formats of numbers that they use."""
    made = environment(Path(__file__).with_name("templates"))
    made.globals.update(waterfall=charts.waterfall, channel_counts=charts.channel_counts, degraded=_DEGRADED)
    made.filters.update(score=_score)
    return made


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
