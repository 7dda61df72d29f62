"""Mapping: how the inputs of a model from elsewhere are computed from our fields.

People write it as YAML beside the model (docs/models.md); a release keeps it as JSON.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationError
from pydantic import Field as Setting

from recmesh.errors import ReleaseError
from recmesh.features.slot import Frozen, Slot

IMPORTED = "imported.json"
USER_ID, ITEM_ID = "user_id", "sku_id"
"""The ids, as fields of their side: `user.user_id`, `item.sku_id`."""

DType = Literal["int64", "float32"]


class Input(Frozen):
    """One input of the model: its slots side by side. `dtype` is the model's."""

    slots: tuple[Slot, ...] = Setting(min_length=1)
    dtype: DType | None = None

    @property
    def width(self) -> int:
        return sum(slot.width for slot in self.slots)


def _as_input(value: Any) -> Any:
    """In YAML an input is a slot or a list of slots."""
    if isinstance(value, dict):
        return value if "slots" in value else {"slots": [value]}
    return {"slots": value}


class Output(Frozen):
    """Which of the model's outputs is the score (or the vector): its number, and of a score the column.

    `softmax`: over the columns first, for a model that gives logits of two classes.
    """

    number: int = Setting(default=0, ge=0)
    column: int | None = Setting(default=None, ge=0)
    softmax: bool = False


class ModelMapping(Frozen):
    """Inputs by the model's own names, in the order of the model. `model`: the path of its files without suffix,
    from the folder of the mapping; empty where that folder has one model only. `normalize`: vectors are brought to
    length 1, for towers that were trained on the cosine."""

    model: str = ""
    inputs: dict[str, Annotated[Input, BeforeValidator(_as_input)]] = Setting(min_length=1)
    output: Output = Output()
    normalize: bool = False

    def matrix(self, dtype: DType) -> Iterator[tuple[str, Slot]]:
        """The slots of one of our two matrices, `dense` (float32) or `sparse` (int64), from left to right, each with
        its input's name."""
        for name, one in self.inputs.items():
            if one.dtype == dtype:
                yield from ((name, slot) for slot in one.slots)

    def slots(self) -> Iterator[tuple[str, Slot]]:
        """All slots, each with its input's name."""
        for name, one in self.inputs.items():
            yield from ((name, slot) for slot in one.slots)


class Imported(Frozen):
    """The mappings of a release's models that come from elsewhere; a model without one is recmesh's own."""

    ranker: ModelMapping | None = None
    user_tower: ModelMapping | None = None
    item_tower: ModelMapping | None = None

    @classmethod
    def load(cls, features: Path) -> "Imported":
        """From the feature folder of a release; one without the file has no such model. Raises ReleaseError when it is
        damaged."""
        path = features / IMPORTED
        if not path.exists():
            return cls()
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{path}: damaged mapping ({error}); import again") from error

    def save(self, features: Path) -> None:
        (features / IMPORTED).write_text(self.model_dump_json(), encoding="utf-8")
