"""The models to import, with the mappings in their folders."""

from dataclasses import dataclass
from pathlib import Path

from jobs.import_model.mapping_file import MAPPING, read_ranker, read_towers
from jobs.import_model.match import Role, matched
from jobs.import_model.paddle_model import PaddleModel, find
from recmesh.dataset import Schema
from recmesh.errors import ReleaseError
from recmesh.features.mapping import ModelMapping

RANKER, USER_TOWER, ITEM_TOWER = "ranker", "user_tower", "item_tower"
"""Names of the models, as in `Imported` and in the names of ONNX files."""


@dataclass(frozen=True)
class Given:
    """A model to import.

    Attributes:
        model: The model as Paddle saved it.
        mapping: How its inputs follow from the fields of the data set.
        place: File of the mapping, for messages.
    """

    model: PaddleModel
    mapping: ModelMapping
    place: str


def read_models(ranker: Path | None, towers: Path | None, schema: Schema) -> dict[str, Given]:
    """Read the models in the given folders.

    Args:
        ranker: Folder of the ranker, if there is one.
        towers: Folder of the towers, if there are any.
        schema: Declares the fields of the data set.

    Returns:
        The ranker, both towers or all three, by name.

    Raises:
        ReleaseError: A model cannot be read or does not match its mapping.
    """
    if ranker is None and towers is None:
        raise ReleaseError("nothing to import: pass --ranker, --towers or both")
    given: dict[str, Given] = {}
    if ranker is not None:
        mapping, place = read_ranker(ranker / MAPPING), str(ranker / MAPPING)
        given[RANKER] = _given(ranker, mapping, schema, "ranker", place)
    if towers is not None:
        both, place = read_towers(towers / MAPPING), str(towers / MAPPING)
        given[USER_TOWER] = _given(towers, both.user, schema, "user tower", f"{place}: user")
        given[ITEM_TOWER] = _given(towers, both.item, schema, "item tower", f"{place}: item")
        _check_dimensions(given[USER_TOWER], given[ITEM_TOWER])
    return given


def _given(folder: Path, mapping: ModelMapping, schema: Schema, role: Role, place: str) -> Given:
    model = PaddleModel(find(folder, mapping.model))
    return Given(model, matched(mapping, model, schema, role, place), place)


def _check_dimensions(user: Given, item: Given) -> None:
    dims = [tower.model.outputs[tower.mapping.output.number].shape[1] for tower in (user, item)]
    if dims[0] != dims[1]:
        raise ReleaseError(
            f"{user.place}: vectors have {dims[0]} dimensions, but those of the item tower have {dims[1]}"
        )
