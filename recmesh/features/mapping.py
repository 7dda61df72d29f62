"""A mapping says how the inputs of an imported model are computed from the fields of users and items.

Users write it as YAML next to the model (docs/models.md). A release stores it as JSON.
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
"""The ids can be used like fields: `user.user_id` and `item.sku_id`."""

DType = Literal["int64", "float32"]


class Input(Frozen):
    """An input of the model: the columns of its slots, concatenated. `dtype` is that of the model's input."""

    slots: tuple[Slot, ...] = Setting(min_length=1)
    dtype: DType | None = None

    @property
    def width(self) -> int:
        """The number of columns of all slots."""
        return sum(slot.width for slot in self.slots)


def _as_input(value: Any) -> Any:
    """Accept the short forms of YAML: a slot, or a list of slots."""
    if isinstance(value, dict):
        return value if "slots" in value else {"slots": [value]}
    return {"slots": value}


class Output(Frozen):
    """Where the score or the vector stands in the model's outputs.

    Attributes:
        number: The position among the model's outputs.
        column: The column of a score.
        softmax: Whether to apply softmax over the columns first, for models that return the logits of two classes.
    """

    number: int = Setting(default=0, ge=0)
    column: int | None = Setting(default=None, ge=0)
    softmax: bool = False


class ModelMapping(Frozen):
    """The mapping of a model.

    Attributes:
        model: The path of the model's files without suffix, relative to the mapping. It may be empty if the folder has
            only one model.
        inputs: The inputs by the model's own names, in the model's order.
        output: Where the result stands.
        normalize: Whether vectors are scaled to length 1, for towers that were trained on the cosine.
    """

    model: str = ""
    inputs: dict[str, Annotated[Input, BeforeValidator(_as_input)]] = Setting(min_length=1)
    output: Output = Output()
    normalize: bool = False

    def matrix(self, dtype: DType) -> Iterator[tuple[str, Slot]]:
        """Yield the slots of `dense` (float32) or `sparse` (int64) from left to right, each with its input's name."""
        for name, given in self.inputs.items():
            if given.dtype == dtype:
                yield from ((name, slot) for slot in given.slots)

    def slots(self) -> Iterator[tuple[str, Slot]]:
        """Yield all slots, each with its input's name."""
        for name, given in self.inputs.items():
            yield from ((name, slot) for slot in given.slots)


class Imported(Frozen):
    """The mappings of a release's imported models. A model without a mapping is recmesh's own."""

    ranker: ModelMapping | None = None
    user_tower: ModelMapping | None = None
    item_tower: ModelMapping | None = None

    @classmethod
    def load(cls, features: Path) -> "Imported":
        """Read the mappings of a release. A release without the file has no imported models.

        Args:
            features: The feature folder of the release.

        Raises:
            ReleaseError: If the file is damaged.
        """
        path = features / IMPORTED
        if not path.exists():
            return cls()
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ReleaseError(f"{path}: damaged mapping ({error}); import again") from error

    def save(self, features: Path) -> None:
        """Write the mappings into the feature folder of a release."""
        (features / IMPORTED).write_text(self.model_dump_json(), encoding="utf-8")
