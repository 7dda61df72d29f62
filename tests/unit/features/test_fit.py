"""Releases whose parts do not fit are refused before compiled code reads beyond an array."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.errors import ReleaseError
from recmesh.features import Encoder
from recmesh.features.encoder import ITEM_VECTORS
from recmesh.features.spec import Array
from tests.unit.features import toy

FILES = {"statistics": "features/statistics.npz", "catalogue": "features/catalogue.npz"}
LISTS = ("cosine", "ridge")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy release as a folder."""
    folder = tmp_path_factory.mktemp("toy")
    toy.encoder().save(folder)
    np.save(folder / ITEM_VECTORS, np.eye(5, 3, dtype=np.float32))
    return folder


@pytest.fixture
def changed(release: Path, tmp_path: Path) -> Callable[[str, str, Callable[[Array], Array]], Path]:
    """A function that copies the release and changes one of its arrays."""

    def change(file: str, name: str, edit: Callable[[Array], Array]) -> Path:
        return spoiled(release, tmp_path, file, name, edit)

    return change


def spoiled(release: Path, folder: Path, file: str, name: str, edit: Callable[[Array], Array]) -> Path:
    for path in release.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(release)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    with np.load(release / FILES[file]) as arrays:
        content = {key: arrays[key] for key in arrays.files}
    content[name] = edit(content[name])
    np.savez(folder / FILES[file], **content)
    return folder


def test_the_release_itself_loads(release: Path) -> None:
    assert len(Encoder.load(release).catalogue) == 5


@pytest.mark.parametrize(
    ("file", "name", "edit", "message"),
    [
        (
            "catalogue",
            "codes_0",
            lambda a: np.where(a == 3, 4, a),
            "codes of cate: has values from 0 to 4 instead of 0 to 3",
        ),
        ("catalogue", "codes_1", lambda a: a[:-1], "codes of price: has the shape [5, 1] instead of [6, 1]"),
        ("catalogue", "numbers", lambda a: a[:, :1], "numbers: has the shape [6, 1] instead of [6, 2]"),
        ("statistics", "buyers", lambda a: a[:3], "buyers: has the shape [3] instead of [6]"),
        ("statistics", "buyers", lambda a: a.astype(float), "buyers: has numbers of type float64 instead of float32"),
        ("statistics", "lift_offset", lambda a: a + 1, "lift_offset: does not fit the numbers of values"),
        ("statistics", "lift_start", lambda a: a[::-1].copy(), "lift_start: does not rise from 0"),
        ("statistics", "lift_start", lambda a: a + 9, "lift_start: has values from 9 to 12 instead of 0 to 3"),
        ("statistics", "lift_items", lambda a: a - 1, "lift_items: has values from -1 to 3 instead of 0 to 4"),
        ("statistics", "top", lambda a: a + 3, "top: has values from 3 to 6 instead of -1 to 4"),
        ("statistics", "value_top", lambda a: a[:2], "value_top: has the shape [2, 2] instead of [4, any]"),
        ("statistics", "order", lambda a: a * 0, "order: does not have every item once"),
        ("statistics", "code_share_0", lambda a: a[:2], "code_share of cate: has the shape [2] instead of [4]"),
        ("statistics", "code_lift_1", lambda a: a[:, :2], "code_lift of price: has the shape [4, 2] instead of [4, 4]"),
        ("statistics", "cosine_items", lambda a: a + 4, "neighbour lists: do not fit the catalogue"),
        ("statistics", "ridge_start", lambda a: a[:-1], "neighbour lists: do not fit the catalogue"),
    ],
)
def test_the_error_names_the_part_that_does_not_fit(
    changed: Callable[[str, str, Callable[[Array], Array]], Path],
    file: str,
    name: str,
    edit: Callable[[Array], Array],
    message: str,
) -> None:
    folder = changed(file, name, edit)
    with pytest.raises(ReleaseError) as raised:
        Encoder.load(folder)
    assert f"{folder}: damaged release ({message}" in str(raised.value)


def test_other_files_must_fit_as_well(release: Path, tmp_path: Path) -> None:
    folder = spoiled(release, tmp_path, "statistics", "buyers", lambda array: array)
    ids = folder / "features" / "sku_ids.txt"
    ids.write_text("a\nb\nc\nd\na\n")
    with pytest.raises(ReleaseError, match="an id is there twice"):
        Encoder.load(folder)
    ids.write_text("a\nb\nc\nd\ne\nf\n")
    with pytest.raises(ReleaseError, match=r"codes of cate: has the shape \[6, 1\] instead of \[7, 1\]"):
        Encoder.load(folder)
    ids.write_text("a\nb\nc\nd\n00123\n")
    np.save(folder / ITEM_VECTORS, np.eye(4, 3, dtype=np.float32))
    with pytest.raises(ReleaseError, match=r"item_vectors\.npy: has the shape \[5, 3\] instead of \[6, any\]"):
        Encoder.load(folder)


ARRAYS = sorted(
    {
        ("statistics", field.name)
        for field in fields(toy.statistics())
        if isinstance(getattr(toy.statistics(), field.name), np.ndarray)
    }
    | {("statistics", f"{name}_{part}") for name in LISTS for part in ("start", "items", "scores")}
    | {("statistics", f"{name}_{number}") for name in ("code_share", "code_lift") for number in (0, 1)}
    | {("catalogue", name) for name in ("codes_0", "codes_1", "numbers")}
)


@settings(max_examples=60, deadline=None)
@given(array=st.sampled_from(ARRAYS), seed=st.integers(0, 2**32 - 1), longer=st.integers(-3, 3))
def test_whatever_an_array_holds_loading_fails_cleanly_or_the_inputs_are_computed(
    release: Path, tmp_path_factory: pytest.TempPathFactory, array: tuple[str, str], seed: int, longer: int
) -> None:
    """No value and no size makes compiled code read beyond an array: that would end the test process."""
    random = np.random.default_rng(seed)

    def edit(values: Array) -> Array:
        length = max(0, len(values) + longer)
        made = np.resize(values, (length, *values.shape[1:]))
        return np.where(random.random(made.shape) < 0.5, made, random.integers(-(2**31), 2**31, made.shape)).astype(
            values.dtype
        )

    folder = spoiled(release, tmp_path_factory.mktemp("spoiled"), *array, edit)
    try:
        encoder = Encoder.load(folder)
    except ReleaseError:
        return
    user = encoder.user({"age": "1"}, ["a", "b"], [2, 1], ["view", "order"], [1.0, 1.0])
    inputs = encoder.ranker_inputs(user, np.arange(5, dtype=np.int32), False, user_vector=np.ones(3, np.float32))
    assert inputs["dense"].shape == (5, len(encoder.spec.dense))
