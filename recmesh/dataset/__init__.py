"""Data sets: reading and checking a folder, and making well-known data sets by name.

`read` returns a `DataSet`, whose `schema` says what the columns mean and whose `report` says what became of every row.
docs/datasets.md describes the files and the rules.
"""

from recmesh.dataset.data import DataSet
from recmesh.dataset.importers import NAMES, check_source, fetch, folder_of
from recmesh.dataset.oracle import Oracle
from recmesh.dataset.reading import read
from recmesh.dataset.report import Report
from recmesh.dataset.rows import Progress
from recmesh.dataset.schema import Action, Field, Schema, Side
from recmesh.dataset.synthetic import synthetic

__all__ = [
    "NAMES",
    "Action",
    "DataSet",
    "Field",
    "Oracle",
    "Progress",
    "Report",
    "Schema",
    "Side",
    "check_source",
    "fetch",
    "folder_of",
    "read",
    "synthetic",
]
