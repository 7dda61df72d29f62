"""The manifest of a release, `manifest.json`. It is written last, so a folder that has it is complete."""

import fcntl
import glob
import hashlib
import os
import re
import uuid
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    computed_field,
    field_validator,
    model_validator,
)

from recmesh.errors import ReleaseError

MANIFEST = "manifest.json"
_UUID_PATTERN = "[0-9a-f]" * 32
FORMAT = 2
"""The format of trained releases. Format 1 has no number in its manifest, no `ranker` and no reference request."""

STARTER_FORMAT = 3
"""The format of starters, and the newest that is read. It has no models: services before it would fail to load one."""

IMPORTED_FROM = "imported"
"""The key in `extra` that names the imported models of a release, and the release that everything else is from."""

HEADLINE = "recall@10"
"""The held-out metric that activation depends on; every `SegmentMetrics` has it."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FILE_NAME = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_BLOCK = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class FileEntry(_Frozen):
    """A file of a release: its SHA-256 in hexadecimal digits and its size in bytes."""

    sha256: str
    size: int


class TensorInput(_Frozen):
    """An input of the ranker: a matrix with a row for each item and `width` columns."""

    dtype: Literal["float32", "int64"]
    width: int = Field(ge=1)


class RankerModel(_Frozen):
    """The inputs and outputs of the ranker in Paddle's format, `ranker/`.

    Attributes:
        inputs: The inputs by name.
        outputs: For each output, float32 [items], the name that Paddle gave it.
    """

    inputs: dict[str, TensorInput] = Field(min_length=1)
    outputs: dict[str, str] = Field(min_length=1)


class Index(_Frozen):
    """The index of a release's collection.

    Attributes:
        kind: The type of the index.
        params: Its build parameters.
        ef: The search width of HNSW.
    """

    kind: Literal["HNSW", "FLAT"] = "HNSW"
    params: dict[str, int] = Field(default_factory=dict)
    ef: int | None = None


class SegmentMetrics(_Frozen):
    """Held-out metrics of a segment by name, such as `recall@10`: means over users.

    Attributes:
        users: The number of users.
        chain: The metrics of the chain.
        popularity: The metrics of popularity.
        channels: The metrics of each channel.
        errors: The standard errors of the chain's metrics.
        gain_errors: The standard errors of the chain's gains over popularity; empty in old releases.
        window: The name of the held-out window; empty in old releases.
    """

    users: int
    chain: dict[str, float]
    popularity: dict[str, float]
    channels: dict[str, dict[str, float]] = Field(default_factory=dict)
    errors: dict[str, float] = Field(default_factory=dict)
    gain_errors: dict[str, float] = Field(default_factory=dict)
    window: str = ""


class Difference(_Frozen):
    """Differences between two releases for the same users, by metric name.

    Attributes:
        users: The number of users.
        mean: The mean difference.
        error: Its standard error.
    """

    users: int
    mean: dict[str, float]
    error: dict[str, float]


class Compared(_Frozen):
    """The gain over the release that was active at the time of training, on held-out users whose labels neither saw.

    Attributes:
        release: The id of that release.
        segments: The gain in each segment.
    """

    release: str
    segments: dict[str, Difference]


class TrainingFacts(_Frozen):
    """What a training has read, and how long it took.

    Attributes:
        seconds: Its duration.
        rows: Number of actions of the data set by what became of them: `used`, `duplicates`, `anonymous`, `unlisted`
            and `rejected`.
        log: Up to which position of each stream of feed's log; empty without an archive.
    """

    seconds: float
    rows: dict[str, int]
    log: dict[str, str] = Field(default_factory=dict)


class Manifest(_Frozen):
    """The contents and the quality of a release.

    Attributes:
        format: From 2 on, `ranker` describes the ranker in Paddle's format, and there is a reference request, except in
            a starter.
        kind: `starter` if the release was only counted, by an ingestion, to serve until there is a trained one.
        id: The id of the release, part of paths and URLs.
        number: Place in the order of the store's releases; the store gives it. 0 in releases of version 0.1.0.
        created: When it was made, for people: clocks may be wrong.
        fingerprint: The fingerprint of the data set.
        schema_hash: The hash of the data set's schema.
        as_of: The time up to which the release has seen actions, in milliseconds since 1970-01-01 UTC; 0 if
            they have no times.
        repeats: Whether users of the data set act on the same item again.
        items: The number of items, and of rows of the collection.
        dim: The dimension of the item vectors; 0 in a starter, which has no vectors and no collection.
        vectors: Where the item vectors come from.
        index: How the collection is searched.
        ranker: The ranker in Paddle's format.
        rankers: The name of the ranker of each segment.
        metrics: The held-out metrics of each segment (`cold`, `novel`, `repeat`).
        compared: The gain over the active release; None if no fair comparison was possible.
        training: What the training read; None in old releases.
        code_version: The training version; see `recmesh.releases.versions`.
        extra: Further facts.
        files: The files of the release.
    """

    format: int = Field(default=1, ge=1)
    kind: Literal["trained", "starter"] = "trained"
    id: str = Field(pattern=f"^{_ID.pattern}$")
    number: int = Field(default=0, ge=0)
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    fingerprint: str
    schema_hash: str
    as_of: int
    repeats: bool
    items: int
    dim: int
    vectors: Literal["item_tower", "product_vectors"] = "item_tower"
    index: Index = Index()
    ranker: RankerModel | None = None
    rankers: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, SegmentMetrics] = Field(default_factory=dict)
    compared: Compared | None = None
    training: TrainingFacts | None = None
    code_version: str = ""
    extra: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def collection(self) -> str:
        """The name of the Milvus collection with the item vectors of this release."""
        return collection_name(self.id)

    @property
    def order(self) -> tuple[int, datetime, str]:
        """The sort key of the releases of a store, oldest first."""
        return self.number, self.created, self.id

    @property
    def imported(self) -> bool:
        """Whether the release has imported models, whose quality is unknown."""
        return IMPORTED_FROM in self.extra

    @property
    def starter(self) -> bool:
        """Whether the release is a starter."""
        return self.kind == "starter"

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not _is_file_name(name):
                raise ValueError(f"{name[:100]!r} is no name of a file within the release")
        return files

    @model_validator(mode="after")
    def _is_complete(self) -> "Manifest":
        if self.format >= 2 and self.ranker is None and not self.starter:
            raise ValueError("format 2 needs `ranker`")
        return self


def is_release_id(text: str) -> bool:
    """Tell whether a text can be the id of a release, which is part of paths and URLs."""
    return _ID.fullmatch(text) is not None


def _is_file_name(name: str) -> bool:
    """Whether a name is a relative path that stays in its folder, on every system, and is not the manifest's."""
    return name != MANIFEST and all(_FILE_NAME.fullmatch(part) for part in name.split("/"))


def collection_name(release_id: str) -> str:
    """Return the name of a release's collection: `recmesh_<id>` with `_` for every character that Milvus rejects.

    If the id has characters other than letters, digits and `-`, a short hash is appended. Two ids never share a
    collection.
    """
    plain = re.sub(r"[^A-Za-z0-9]", "_", release_id)
    if re.fullmatch(r"[A-Za-z0-9-]+", release_id):
        return f"recmesh_{plain}"
    return f"recmesh_{plain}_{hashlib.sha256(release_id.encode()).hexdigest()[:8]}"


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file of a folder and write `manifest.json` there, atomically and last.

    Returns:
        The manifest with `files`.

    Raises:
        ReleaseError: If the folder is empty.
    """
    names = sorted(_files(folder))
    if not names:
        raise ReleaseError(f"{folder}: the folder is empty; train first")
    complete = manifest.model_copy(update={"files": {name: _entry(folder / name) for name in names}})
    replace_file(folder / MANIFEST, complete.model_dump_json(indent=2).encode())
    return complete


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        ReleaseError: If it is missing, damaged or of a newer format.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ReleaseError(f"{folder}: no {MANIFEST}: the release is incomplete; train again") from None


def parse_manifest(content: bytes, place: str) -> Manifest:
    """Parse the JSON of a manifest.

    Args:
        content: The JSON.
        place: Where it comes from, for error texts.

    Raises:
        ReleaseError: If it is damaged or of a newer format.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ReleaseError(f"{place}: damaged manifest ({where}: {first['msg']}); train again") from None
    if manifest.format > STARTER_FORMAT:
        raise ReleaseError(
            f"{place}: has format {manifest.format}, but this recmesh reads only up to {STARTER_FORMAT}; "
            "upgrade recmesh or train again"
        )
    return manifest


def verify_folder(folder: Path, manifest: Manifest) -> None:
    """Compare the size and the SHA-256 of every file with the manifest.

    Raises:
        ReleaseError: If a file is missing or differs, or is a link to a place outside the folder.
    """
    root = folder.resolve()
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ReleaseError(f"{path}: missing from release {manifest.id}")
        if not path.resolve().is_relative_to(root):
            raise ReleaseError(f"{path}: a link to a place outside release {manifest.id}")
        if path.stat().st_size != entry.size or _entry(path).sha256 != entry.sha256:
            raise ReleaseError(f"{path}: damaged: its SHA-256 differs from the manifest of release {manifest.id}")


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content of a file atomically and durably: readers see the old content or the new content.

    The new content is in a temporary file at first, which has a lock. Those whose process was killed have none, and are
    removed.
    """
    for other in path.parent.glob(f".{glob.escape(path.name)}.{_UUID_PATTERN}"):
        _remove_unlocked(other)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with _locked(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_file(path: Path, content: bytes) -> None:
    """Write a file that must not exist, atomically and durably.

    Raises:
        FileExistsError: It exists.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _locked(path: Path) -> BinaryIO:
    """Open a new file for writing, and lock it until it is closed."""
    while True:
        file = path.open("wb")
        with suppress(OSError):  # a file system without locks: nobody can remove the file either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed between the two steps


def _remove_unlocked(path: Path) -> None:
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if path.as_posix() != MANIFEST and not path.name.startswith(".")]


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(sha256=sha256_of(file), size=path.stat().st_size)


def sha256_of(file: BinaryIO) -> str:
    """Return the SHA-256 of what is left to read of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
