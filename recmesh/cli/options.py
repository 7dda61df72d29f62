"""Options that several commands of `recmesh` share."""

from typing import Annotated

import typer

from recmesh.contract import DEFAULT_MILVUS_URI, DEFAULT_MODEL_STORE

STORE, MILVUS = DEFAULT_MODEL_STORE, DEFAULT_MILVUS_URI
"""Defaults of `StoreUrl` and `MilvusUri`."""

StoreUrl = Annotated[
    str, typer.Option("--store", envvar="RECMESH_MODEL_STORE", help="Model store: a folder or an fsspec URL.")
]
MilvusUri = Annotated[
    str,
    typer.Option(
        "--milvus-uri",
        envvar="RECMESH_MILVUS_URI",
        help="Milvus with the collections. User and password: RECMESH_MILVUS_USERNAME, RECMESH_MILVUS_PASSWORD.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
