"""One hash for the content of a data set, the same for any order of its rows and files, and for any form of them."""

import hashlib
import json

import polars as pl

from recmesh.dataset.schema import Schema

_ROWS = 500_000


def fingerprint(
    schema: Schema, users: pl.DataFrame, items: pl.DataFrame, actions: pl.DataFrame, vectors: pl.DataFrame | None
) -> str:
    """sha256 (hex) over frames in the sorted form that DataSet has them in, and what the schema says of their meaning.

    What the schema says of the files (column names, encoding, unit) does not count: the frames no longer show it.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_meaning(schema), ensure_ascii=True, sort_keys=True).encode())
    for frame in (users, items):
        for part in frame.iter_slices(_ROWS):
            digest.update(part.write_csv(include_header=False, quote_style="non_numeric", null_value="").encode())
    digest.update(json.dumps(actions["type"].cast(pl.String).unique().sort().to_list()).encode())
    for name in actions.columns:
        for chunk in actions[name].to_physical().get_chunks():
            digest.update(chunk.to_numpy().data)
    if vectors is not None:
        digest.update(vectors.select("sku_id").write_csv().encode())
        digest.update(vectors["vector"].to_numpy().data)
    return digest.hexdigest()


def _meaning(schema: Schema) -> dict[str, object]:
    fields = {
        side: [(name, f.kind, f.separator) for name, f in part.fields.items()]
        for side, part in (("user", schema.user), ("item", schema.item))
    }
    return {**fields, "weights": schema.action.weights, "repeats": schema.repeats}
