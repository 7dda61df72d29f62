"""The models of an import, with the mappings that lie beside them."""

from dataclasses import dataclass
from pathlib import Path

from jobs.import_model.mapping_file import MAPPING, read_ranker, read_towers
from jobs.import_model.match import Role, matched
from jobs.import_model.paddle_model import PaddleModel, find
from recmesh.errors import ReleaseError
from recmesh.features import FeatureSpec
from recmesh.features.mapping import ModelMapping

RANKER, USER_TOWER, ITEM_TOWER = "ranker", "user_tower", "item_tower"
"""Names of the models, as in `Imported` and in front of `.onnx`."""


@dataclass(frozen=True)
class Given:
    """A model from elsewhere with its mapping. `place`: the mapping's file, for messages."""

    model: PaddleModel
    mapping: ModelMapping
    place: str


def read_models(ranker: Path | None, towers: Path | None, spec: FeatureSpec) -> dict[str, Given]:
    """What the folders hold, by name: the ranker, both towers, or all three.

    Raises ReleaseError when a model cannot be read or does not fit its mapping.
    """
    if ranker is None and towers is None:
        raise ReleaseError("nothing to import: give --ranker or --towers")
    given: dict[str, Given] = {}
    if ranker is not None:
        mapping, place = read_ranker(ranker / MAPPING), str(ranker / MAPPING)
        given[RANKER] = _given(ranker, mapping, spec, "ranker", place)
    if towers is not None:
        both, place = read_towers(towers / MAPPING), str(towers / MAPPING)
        given[USER_TOWER] = _given(towers, both.user, spec, "user tower", f"{place}: user")
        given[ITEM_TOWER] = _given(towers, both.item, spec, "item tower", f"{place}: item")
        _check_dimensions(given[USER_TOWER], given[ITEM_TOWER])
    return given


def _given(folder: Path, mapping: ModelMapping, spec: FeatureSpec, role: Role, place: str) -> Given:
    model = PaddleModel(find(folder, mapping.model))
    return Given(model, matched(mapping, model, spec, role, place), place)


def _check_dimensions(user: Given, item: Given) -> None:
    dims = [one.model.outputs[one.mapping.output.number].shape[1] for one in (user, item)]
    if dims[0] != dims[1]:
        raise ReleaseError(f"{user.place}: vectors of {dims[0]} dimensions, those of the item tower have {dims[1]}")
