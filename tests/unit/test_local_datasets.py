"""The data sets of `make up` by name: made once, and again when the files of an export change."""

from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from local import datasets
from local.settings import LocalSettings
from recmesh.dataset.archive import SCHEMA, Archive
from recmesh.errors import DataError
from recmesh.progress import NumberedSteps


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    monkeypatch.setenv("RECMESH_HOME", str(tmp_path / "home"))
    return LocalSettings()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of MovieLens."""
    folder = tmp_path / "ml latest"
    folder.mkdir()
    (folder / "movies.csv").write_text("movieId,title,genres\n1,Toy Story (1995),Comedy\n2,Heat (1995),Action\n")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,1,4.0,964982703\n7,2,5.0,964982704\n")
    return folder


def steps() -> NumberedSteps:
    return NumberedSteps(Console(quiet=True), 1)


def test_a_data_set_by_name_is_made_once_and_again_when_its_files_change(settings: LocalSettings, export: Path) -> None:
    source = f"movielens:{export}"
    datasets.check_name(source)
    first = datasets.checked(settings, source, steps())
    assert first.folder.parent == settings.folder / "data"
    assert (first.summary, first.known_user) == ("1 users, 2 items, 2 actions", "7")
    made = (first.folder / "actions.parquet").stat().st_ino
    again = datasets.checked(settings, source, steps())
    assert again == first
    assert (again.folder / "actions.parquet").stat().st_ino == made

    with (export / "ratings.csv").open("a") as file:
        file.write("8,2,1.0,964982705\n")
    changed = datasets.checked(settings, source, steps())
    assert (changed.folder, changed.summary) == (first.folder, "2 users, 2 items, 3 actions")


def test_what_feed_recorded_belongs_to_the_data_set_from_its_archive_on(settings: LocalSettings, export: Path) -> None:
    source = f"movielens:{export}"
    before = datasets.checked(settings, source, steps())
    assert before.archive == ""
    place = datasets.archive_of(settings, before.folder)
    assert place.parent == settings.folder / "archive"
    row = {**dict.fromkeys(SCHEMA), "position": "5-1", "change": "action", "id": "9", "sku_id": "2"}
    row |= {"time": 964_982_706_000, "type": "rating", "value": 3.0, "event_id": "e"}
    Archive(str(place)).write("0", "5-1", "5-1", pl.DataFrame([row], SCHEMA, orient="row"))
    after = datasets.checked(settings, source, steps())
    assert (after.archive, after.folder) == (str(place), before.folder)
    assert after.summary == "2 users, 2 items, 3 actions"
    assert after.fingerprint != before.fingerprint
    assert datasets.checked(settings, source, steps()) == after
    other = datasets.checked(settings, "synthetic:100x240", steps())
    assert other.archive == ""


def test_sources_with_arguments_have_folders_of_their_own(settings: LocalSettings) -> None:
    folders = {
        datasets.checked(settings, source, steps()).folder
        for source in (
            "synthetic:100x240",
            "synthetic:101x240",
            "synthetic:users=200,seed=1",
            "synthetic:users=200,seed=2",
        )
    }
    assert len(folders) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ta-feng", 'unknown data set "ta-feng": one of ta_feng, .*did you mean "ta_feng"'),
        ("movielens:/nowhere", "movielens:/nowhere: no such folder"),
        ("synthetic:users=many", 'synthetic: users="many" is not a number'),
    ],
)
def test_an_unknown_name_is_refused_before_anything_starts(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        datasets.check_name(name)
