"""A hash of the content of a data set, independent of the order and the form of its files."""

import hashlib
import json

import polars as pl

from recmesh.dataset.schema import Schema

_SLICE_ROWS = 500_000


def fingerprint(
    schema: Schema, users: pl.DataFrame, items: pl.DataFrame, actions: pl.DataFrame, vectors: pl.DataFrame | None
) -> str:
    """Hash the frames of a DataSet, which are sorted, and what the schema says about their meaning.

    What the schema says about the files (column names, encoding, unit) does not count, because the frames no longer
    depend on it.

    Returns:
        sha256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_meaning(schema), ensure_ascii=True, sort_keys=True).encode())
    for frame in (users, items):
        for part in frame.iter_slices(_SLICE_ROWS):
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
    return {
        **fields,
        "weights": schema.action.weights,
        "values": str(schema.action.rule),
        "weight_by": schema.action.weight_by,
        "repeats": schema.repeats,
    }
