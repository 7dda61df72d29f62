"""The data set of a local mesh, by name or folder. Each state of its files is checked once."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.settings import LocalSettings
from recmesh.progress import NumberedSteps
from recmesh.releases.versions import MAKING_DATA_SETS, code_digest

if TYPE_CHECKING:
    from recmesh.dataset import DataSet


@dataclass(frozen=True)
class Checked:
    """A valid data set, and users for example requests.

    Attributes:
        folder: The data set.
        fingerprint: Its fingerprint.
        summary: Its size, for people.
        known_user: Id of a user with actions.
        new_user: Profile of a new user; empty if users have no fields.
        warnings: What is probably wrong with the data set.
        archive: Folder of the archive of feed's log, which the facts above include; empty if nothing was archived.
    """

    folder: Path
    fingerprint: str
    summary: str
    known_user: str
    new_user: Mapping[str, str]
    warnings: Sequence[str] = ()
    archive: str = ""


def checked(settings: LocalSettings, dataset: str, steps: NumberedSteps) -> Checked:
    """Fetch a named data set if needed, then read and check it, unless nothing has changed since the last check.

    Raises:
        DataError: The data set cannot be used.
    """
    folder = fetched(settings, dataset, steps)
    state = [*_state(folder), *_files(archive_of(settings, folder))]
    record = settings.run / "checked" / f"{_digest(folder)}.json"
    found = _remembered(record, state)
    if found is None:
        found = _read(folder, settings, steps)
        _remember(record, state, found)
    steps.say(found.summary)
    steps.warn(found.warnings)
    return found


def archive_of(settings: LocalSettings, folder: Path) -> Path:
    """Folder of the archive of feed's log that continues a data set."""
    return settings.folder / "archive" / f"{folder.name}-{_digest(folder)}"


def check_name(dataset: str) -> None:
    """Check the name of a data set.

    Raises:
        DataError: It is neither a folder nor a known source.
    """
    if not Path(dataset).expanduser().is_dir():
        from recmesh.dataset import check_source  # importing Polars takes a while

        check_source(dataset)


def rejects(settings: LocalSettings, folder: Path) -> Path:
    """CSV file for rejected rows, each with file, line and reason."""
    path = settings.folder / "rejects" / f"{folder.name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def fetched(settings: LocalSettings, dataset: str, steps: NumberedSteps) -> Path:
    """Return the folder of a data set. A named one is made unless this code has made it from the same files."""
    if Path(dataset).expanduser().is_dir():
        return Path(dataset).expanduser().absolute()
    from recmesh.dataset import fetch, folder_of

    source = folder_of(dataset)
    state = _source_state(dataset, source.absolute() if source else None)
    digest = hashlib.sha256(json.dumps(state[:2]).encode()).hexdigest()[:8]
    name, colon, _ = dataset.partition(":")
    folder = settings.folder / "data" / (f"{name}-{digest}" if colon else name)
    record = settings.run / "made" / f"{folder.name}.json"
    if not (folder.is_dir() and _content(record) == state):
        steps.say(f"making {dataset} in {folder}")
        fetch(dataset, folder, settings.folder / "cache")
        _write(record, state)
    return folder


def _source_state(dataset: str, source: Path | None) -> list[Any]:
    """A value that changes with a source, its files and the code that imports it."""
    name = dataset if source is None else dataset.partition(":")[0]
    return [name, str(source), code_digest(*MAKING_DATA_SETS), *(_files(source) if source else [])]


def _read(folder: Path, settings: LocalSettings, steps: NumberedSteps) -> Checked:
    from recmesh.dataset import read
    from recmesh.dataset.archive import Archive
    from recmesh.dataset.merging import merged

    steps.say("reading and checking every row")
    place = str(archive_of(settings, folder))
    archive = place if Archive(place).parts() else ""
    data = merged(read(folder, rejects(settings, folder)), archive).data
    summary = f"{len(data.users):,} users, {len(data.items):,} items, {len(data.actions):,} actions"
    known, new = _known_user(data), _new_user(data)
    return Checked(folder, data.fingerprint, summary, known, new, data.report.warnings, archive)


def _known_user(data: "DataSet") -> str:
    """The user with the most actions; the first by id if there are several."""
    counts = data.actions.group_by("user_id").len().sort("len", "user_id", descending=[True, False])
    users = counts if len(counts) else data.users
    return str(users["user_id"][0]) if len(users) else ""


def _new_user(data: "DataSet") -> dict[str, str]:
    """The profile of the first user without missing fields."""
    fields = [name for name in data.users.columns if name != "user_id"]
    complete = data.users.drop_nulls(fields) if fields else data.users.head(0)
    return {name: str(complete[name][0]) for name in fields} if len(complete) else {}


def _state(folder: Path) -> list[Any]:
    """A value that changes with any file of the folder and with the code that reads it."""
    return [code_digest("recmesh/dataset"), str(folder), *_files(folder)]


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def _files(folder: Path) -> list[list[Any]]:
    """Path, size and time of change of each file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = ((path, path.stat()) for path in files)
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _remembered(record: Path, state: list[Any]) -> Checked | None:
    content = _content(record)
    if not isinstance(content, dict) or content.get("state") != state:
        return None
    fields = content["checked"]
    return Checked(**{**fields, "folder": Path(fields["folder"])})


def _remember(record: Path, state: list[Any], found: Checked) -> None:
    _write(record, {"state": state, "checked": asdict(found)})


def _content(record: Path) -> Any:
    """The content of a record; None if there is none."""
    try:
        return json.loads(record.read_text())
    except (OSError, ValueError):
        return None


def _write(record: Path, content: Any) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    temporary = record.with_suffix(".new")
    temporary.write_text(json.dumps(content, default=str))
    temporary.replace(record)
