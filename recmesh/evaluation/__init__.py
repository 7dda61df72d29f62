"""Evaluation: metrics of ranked lists, the report of a release, and scoring of any system's predictions."""

from recmesh.evaluation.metrics import errors, margin, means, metrics, names, of_hits, per_user
from recmesh.evaluation.predictions import PredictionScores, score
from recmesh.evaluation.report import METRICS_FILE, PAGE_FILE, Decision, Report

__all__ = [
    "METRICS_FILE",
    "PAGE_FILE",
    "Decision",
    "PredictionScores",
    "Report",
    "errors",
    "margin",
    "means",
    "metrics",
    "names",
    "of_hits",
    "per_user",
    "score",
]
