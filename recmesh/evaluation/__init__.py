"""How good lists are: the metrics, and what a release says about itself with them."""

from recmesh.evaluation.metrics import errors, margin, means, metrics, names, of_hits, per_user
from recmesh.evaluation.predictions import Scored, score
from recmesh.evaluation.report import METRICS_FILE, PAGE_FILE, Decision, Report

__all__ = [
    "METRICS_FILE",
    "PAGE_FILE",
    "Decision",
    "Report",
    "Scored",
    "errors",
    "margin",
    "means",
    "metrics",
    "names",
    "of_hits",
    "per_user",
    "score",
]
