"""Reading the mapping file of a model, and the errors for malformed files."""

from pathlib import Path

import pytest

from jobs.import_model.mapping_file import read_ranker, read_towers
from recmesh.errors import ReleaseError


def write(folder: Path, mapping: str, vocabulary: str = "") -> Path:
    (folder / "words.txt").write_text(vocabulary)
    (folder / "mapping.yaml").write_text(mapping)
    return folder / "mapping.yaml"


def test_a_vocabulary_is_given_as_a_file_or_inline(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "inputs:\n"
        "  age: {from: user.age, vocabulary: words.txt}\n"
        "  more:\n"
        "    - {from: user.age, vocabulary: words.txt}\n"
        "    - {from: item.brand, vocabulary: {vocabulary: 3}}\n",
        "007\t1\n a b\t2\n",
    )
    inputs = read_ranker(path).inputs
    assert inputs["age"].slots[0].vocabulary == {"007": 1, " a b": 2}
    assert [slot.vocabulary for slot in inputs["more"].slots] == [{"007": 1, " a b": 2}, {"vocabulary": 3}]


def test_towers_are_two_mappings_in_one_file(tmp_path: Path) -> None:
    side = "{inputs: {query: {from: %s, vocabulary: words.txt, multi_hot: true}}, normalize: true}"
    path = write(tmp_path, f"user: {side % 'user.age'}\nitem: {side % 'item.brand'}\n", "a\t0\n")
    towers = read_towers(path)
    assert towers.user.normalize and towers.item.inputs["query"].slots[0].vocabulary == {"a": 0}


@pytest.mark.parametrize(
    ("mapping", "vocabulary", "expected"),
    [
        (
            "inputs: {a: {from: user.age, vocabulary: words.txt}}",
            "a 1\n",
            "words.txt: line 1: expected a value, a tab and an id",
        ),
        (
            "inputs: {a: {from: user.age, vocabulary: words.txt}}",
            "a\t1\na\t2\n",
            "words.txt: line 2: 'a' already has an id",
        ),
        ("inputs: {a: {from: user.age, vocabulary: none.txt}}", "", "none.txt: cannot be read as a vocabulary"),
        ("inputs: {a: {from: user.age, vocabulary: {x: y}}}", "", "mapping.yaml: inputs.a.0.vocabulary.x: "),
        ("inputs: {a: 1, a: 2}", "", "mapping.yaml: "),
        ("[]", "", "mapping.yaml: the file: "),
        ("", "", "mapping.yaml: the file: "),
    ],
)
def test_an_error_names_its_place_in_the_file(tmp_path: Path, mapping: str, vocabulary: str, expected: str) -> None:
    with pytest.raises(ReleaseError) as caught:
        read_ranker(write(tmp_path, mapping, vocabulary))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"docs/models\.md has an example to start from"):
        read_ranker(tmp_path / "mapping.yaml")
