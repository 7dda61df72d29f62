"""Reading and checking a data set, and making the ones we know by name."""

from recmesh.dataset.data import DataSet
from recmesh.dataset.importers import NAMES, fetch
from recmesh.dataset.reading import read
from recmesh.dataset.report import Report
from recmesh.dataset.rows import Progress
from recmesh.dataset.schema import ITEM_WIRE_FIELDS, USER_WIRE_FIELDS, Action, Field, Schema, Side
from recmesh.dataset.synthetic import synthetic

__all__ = [
    "ITEM_WIRE_FIELDS",
    "NAMES",
    "USER_WIRE_FIELDS",
    "Action",
    "DataSet",
    "Field",
    "Progress",
    "Report",
    "Schema",
    "Side",
    "fetch",
    "read",
    "synthetic",
]
