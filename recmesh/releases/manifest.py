"""What a release says about itself: `manifest.json`, written last, so that a folder with one is whole."""

import hashlib
import os
import re
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from recmesh.errors import ReleaseError

MANIFEST = "manifest.json"
FORMAT = 2
"""What is written now. 1, which has no number in its manifest: without `ranker` and its reference."""

IMPORTED_FROM = "imported"
"""In `extra` of a release with models from elsewhere: which they are, and the release that all else is from."""

HEADLINE = "recall@10"
"""The held-out metric that decides about activation; every `SegmentMetrics` has it."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BLOCK = 1 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")


class FileEntry(_Frozen):
    """One file of a release: its sha256 (hex) and its size in bytes."""

    sha256: str
    size: int


class TensorInput(_Frozen):
    """An input of the ranker: a matrix of as many rows as items, and `width` columns."""

    dtype: Literal["float32", "int64"]
    width: int = Field(ge=1)


class RankerModel(_Frozen):
    """How the ranker in Paddle's format, `ranker/`, is fed and read: its inputs by name, and for each of its outputs,
    float32 [items], the name that Paddle gave it."""

    inputs: dict[str, TensorInput] = Field(min_length=1)
    outputs: dict[str, str] = Field(min_length=1)


class Index(_Frozen):
    """How the collection of a release is searched. `params` are the build parameters; `ef` is HNSW's search width."""

    kind: Literal["HNSW", "FLAT"] = "HNSW"
    params: dict[str, int] = Field(default_factory=dict)
    ef: int | None = None


class SegmentMetrics(_Frozen):
    """Held-out metrics of one segment, by metric name (`recall@10`), as means over its `users`.

    `errors`: standard errors of the chain's. `window`: the name of the held-out window, "" in releases that do not say.
    """

    users: int
    chain: dict[str, float]
    popularity: dict[str, float]
    channels: dict[str, dict[str, float]] = Field(default_factory=dict)
    errors: dict[str, float] = Field(default_factory=dict)
    window: str = ""


class Difference(_Frozen):
    """Differences of the same `users`, by metric name: their mean and its standard error."""

    users: int
    mean: dict[str, float]
    error: dict[str, float]


class Compared(_Frozen):
    """What a release has more than the one that was active when it was trained, by segment, on held-out users whose
    labels neither had seen."""

    release: str
    segments: dict[str, Difference]


class Manifest(_Frozen):
    """What a release is made of and how good it is.

    `format` says what it has: from 2 on, the ranker in Paddle's format is described in `ranker` and has a reference.
    `as_of` is in milliseconds since 1970-01-01 UTC: the last moment that the release knows of. The collection holds
    `items` rows of `dim` floats; `vectors` says where these come from. `rankers` names the ranker of each segment.
    `metrics` is keyed by segment (`cold`, `novel`, `repeat`). `compared` is None where a comparison with the release
    that was active would not have been honest. `extra` is free.
    """

    format: int = Field(default=1, ge=1)
    id: str = Field(pattern=f"^{_ID.pattern}$")
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
    code_version: str = ""
    extra: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def collection(self) -> str:
        """The Milvus collection that holds the item vectors of this release, and of no other."""
        return collection_name(self.id)

    @property
    def imported(self) -> bool:
        """Whether it has models from elsewhere, of which nothing says how good they are."""
        return IMPORTED_FROM in self.extra

    @model_validator(mode="after")
    def _is_whole(self) -> "Manifest":
        if self.format >= 2 and self.ranker is None:
            raise ValueError("of format 2, but without `ranker`")
        return self


def is_release_id(text: str) -> bool:
    """Whether a text can be the id of a release: it is part of paths and URLs."""
    return _ID.fullmatch(text) is not None


def collection_name(release_id: str) -> str:
    """`recmesh_<id>` in the alphabet of Milvus: letters, digits and `_` (for the `-` of ids).

    An id with other characters gets a short hash of itself, so that two ids never share a collection.
    """
    plain = re.sub(r"[^A-Za-z0-9]", "_", release_id)
    if re.fullmatch(r"[A-Za-z0-9-]+", release_id):
        return f"recmesh_{plain}"
    return f"recmesh_{plain}_{hashlib.sha256(release_id.encode()).hexdigest()[:8]}"


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file under `folder` and write `manifest.json` there, atomically and last.

    Returns the manifest with `files` filled in. Raises ReleaseError when the folder holds no file.
    """
    names = sorted(_files(folder))
    if not names:
        raise ReleaseError(f"{folder}: an empty folder is no release; train first")
    complete = manifest.model_copy(update={"files": {name: _entry(folder / name) for name in names}})
    replace_file(folder / MANIFEST, complete.model_dump_json(indent=2).encode())
    return complete


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`. Raises ReleaseError when it is missing or cannot be parsed."""
    path = folder / MANIFEST
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ReleaseError(f"{folder}: no {MANIFEST}: the release was not written to its end; train again") from None


def parse_manifest(content: bytes, place: str) -> Manifest:
    """Parse a manifest's JSON. Raises ReleaseError naming `place`."""
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise ReleaseError(f"{place}: damaged manifest ({where}: {first['msg']}); train again") from None
    if manifest.format > FORMAT:
        raise ReleaseError(
            f"{place}: of format {manifest.format}, this recmesh reads up to {FORMAT}: upgrade recmesh, or train again"
        )
    return manifest


def verify_folder(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its size and sha256. Raises ReleaseError naming the first that differs."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ReleaseError(f"{path}: missing from release {manifest.id}")
        if path.stat().st_size != entry.size or _entry(path).sha256 != entry.sha256:
            raise ReleaseError(f"{path}: damaged, its sha256 is not the one in the manifest of release {manifest.id}")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, and a crash leaves one of them."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if path.as_posix() != MANIFEST and not path.name.startswith(".")]


def _entry(path: Path) -> FileEntry:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return FileEntry(sha256=digest.hexdigest(), size=path.stat().st_size)
