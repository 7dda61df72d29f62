"""What training needs of a data set."""

from collections.abc import Iterator

from recmesh.dataset.data import DataSet

MIN_USERS, MIN_ITEMS, MIN_ACTIONS = 10, 10, 50
"""Smaller data sets are refused: a model fitted on fewer could not be evaluated."""


def lacking(data: DataSet) -> Iterator[tuple[str, str]]:
    """Yield what there is too little of, such as "items", and a sentence about it."""
    for what, count, minimum in (
        ("actions", data.actions.height, MIN_ACTIONS),
        ("users with actions", data.actions["user_id"].n_unique(), MIN_USERS),
        ("items", data.items.height, MIN_ITEMS),
    ):
        if count < minimum:
            yield what, f"{count} {what} are too few; training needs at least {minimum}"
