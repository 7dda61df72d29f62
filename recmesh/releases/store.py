"""The model store: releases and the one small object that says which of them is active, under an fsspec URL.

<url>/releases/<id>/...     the files of a release; manifest.json is written last, so a release without one is not there
<url>/active                JSON: the active id and the ids that were active before it, newest first
<url>/marks/<name>          the id that the newest training under that name ended with
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import fsspec
import structlog
from fsspec.implementations.local import LocalFileSystem
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from recmesh.errors import RecmeshError, ReleaseError, Unavailable
from recmesh.evaluation.report import METRICS_FILE, PAGE_FILE
from recmesh.releases.checks import Check, beats_popularity
from recmesh.releases.manifest import (
    MANIFEST,
    FileEntry,
    Index,
    Manifest,
    is_release_id,
    parse_manifest,
    read_manifest,
    replace_file,
    verify_folder,
)

_HISTORY = 20
_COPIES = 3
_log = structlog.get_logger(__name__)


class Active(BaseModel):
    """The `active` object. `history` holds the ids that were active before, newest first."""

    model_config = ConfigDict(frozen=True)

    id: str
    since: AwareDatetime
    history: tuple[str, ...] = ()


class ModelStore:
    """Keeps releases under an fsspec URL (`file`, `s3`, `gs`, `memory`; a plain path is a folder).

    Every method may raise Unavailable when the store does not answer, and ReleaseError when a release is missing or
    damaged.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, root = fsspec.url_to_fs(str(url), use_listings_cache=False)
        except ImportError as error:
            needed = "needs the extra \"s3\": pip install 'recmesh[s3]'" if url.startswith("s3:") else str(error)
            raise ReleaseError(f"model store {url}: {needed}") from None
        except ValueError as error:
            raise ReleaseError(f"model store {url}: {error}; use a folder or a file://, s3:// or gs:// URL") from None
        self._root = PurePosixPath(root)

    def put(self, folder: Path) -> Manifest:
        """Copy a release folder into the store; readers see it with its last file, the manifest. Again: no effect.

        A release is what it serves with: another report (it says how long the training took) does not make it another.
        Raises ReleaseError when the folder is incomplete or damaged, or another release with this id exists.
        """
        manifest = read_manifest(folder)
        verify_folder(folder, manifest)
        stored = self._read(self._manifest_path(manifest.id))
        if stored is not None:
            known = parse_manifest(stored, manifest.id)
            if _served(known) != _served(manifest):
                raise ReleaseError(f"model store {self.url}: holds another release {manifest.id}; delete it first")
            return known
        with self._errors():
            for name in manifest.files:
                target = self._path(manifest.id, name)
                self._fs.makedirs(str(target.parent), exist_ok=True)
                self._fs.put_file(str(folder / name), str(target))
        self._write(self._manifest_path(manifest.id), (folder / MANIFEST).read_bytes())
        return manifest

    def list(self) -> list[Manifest]:
        """All whole releases, newest first. One that cannot be read is left out, with a warning in the log."""
        with self._errors():
            self._fs.invalidate_cache()
            root = str(self._root / "releases")
            folders = self._fs.ls(root, detail=False) if self._fs.exists(root) else []
        manifests = []
        for release_id in sorted(PurePosixPath(folder).name for folder in folders):
            content = self._read(self._manifest_path(release_id))
            if content is None:
                continue
            try:
                manifests.append(parse_manifest(content, f"{self.url}: release {release_id}"))
            except ReleaseError as error:
                _log.warning("release left out of the list", release=release_id, error=str(error))
        return sorted(manifests, key=lambda manifest: (manifest.created, manifest.id), reverse=True)

    def manifest(self, release_id: str) -> Manifest:
        """The manifest of one release. Raises ReleaseError when there is no such release."""
        content = self._read(self._manifest_path(release_id))
        if content is None:
            raise ReleaseError(
                f"model store {self.url}: no release {release_id}; `recmesh release list` shows what there is"
            )
        return parse_manifest(content, f"{self.url}: release {release_id}")

    def read(self, release_id: str, name: str) -> bytes:
        """One file of a release, checked by its sha256. Raises ReleaseError when it is missing or damaged."""
        manifest = self.manifest(release_id)
        entry = manifest.files.get(name)
        if entry is None:
            why = "it was made before there was one; train again"
            if manifest.imported:
                why = "its models come from elsewhere; docs/models.md says how to measure them"
            raise ReleaseError(f"release {release_id} has no {name}: {why}")
        content = self._read(self._path(release_id, name))
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ReleaseError(f"model store {self.url}: {name} of release {release_id} is damaged; train again")
        return content

    def set_index(self, release_id: str, index: Index) -> Manifest:
        """Write down how the collection of a release is searched: known only when it is built and measured."""
        manifest = self.manifest(release_id).model_copy(update={"index": index})
        self._write(self._manifest_path(release_id), manifest.model_dump_json(indent=2).encode())
        return manifest

    def fetch(self, release_id: str, into: Path) -> Path:
        """The release as a local folder `into/<id>`, every file checked by sha256; a whole one is not fetched again.

        Of the copies in `into`, the three that were fetched last stay, and that of the active release. Raises
        ReleaseError when a file of the store itself is damaged.
        """
        manifest = self.manifest(release_id)
        target = into / release_id
        if not _is_whole(target, manifest):
            self._download(manifest, target)
        content = manifest.model_dump_json(indent=2).encode()
        if _content(target / MANIFEST) != content:
            replace_file(target / MANIFEST, content)
        # A folder may be for reading only, and another process may remove a copy as well.
        with suppress(OSError, Unavailable):
            self._remove_old_copies(target)
        return target

    def active(self) -> str | None:
        """The id of the active release; None when none is."""
        record = self.active_record()
        return record.id if record else None

    def active_manifest(self) -> Manifest | None:
        """The manifest of the active release; None when none is active or its manifest is gone or damaged."""
        record = self._active_or_none()
        try:
            return self.manifest(record.id) if record else None
        except ReleaseError as error:
            _log.warning("active release not compared with", error=str(error))
            return None

    def active_record(self) -> Active | None:
        """The active release with its history; None when none is active."""
        content = self._read(self._root / "active")
        if content is None:
            return None
        try:
            return Active.model_validate_json(content)
        except ValidationError:
            raise ReleaseError(f"model store {self.url}: damaged `active` object; activate a release again") from None

    def activate(self, release_id: str, checks: Sequence[Check] = (beats_popularity,)) -> Manifest:
        """Make a release the active one, in one atomic step, if it is whole and passes every check. Again: no effect.

        Raises ReleaseError, with the figures, when it is refused; then the active release stays.
        """
        manifest = self.manifest(release_id)
        self._check_files(manifest)
        for check in checks:
            check(manifest)
        before = self._active_or_none()
        if before is None or before.id != release_id:
            history = (before.id, *before.history) if before else ()
            self._set_active(release_id, tuple(other for other in history if other != release_id))
        return manifest

    def rollback(self, checks: Sequence[Check] = ()) -> Manifest:
        """Activate the release that was active before. Raises ReleaseError when there is none left to go back to."""
        before = self.active_record()
        history = before.history if before else ()
        for position, release_id in enumerate(history):
            if self._read(self._manifest_path(release_id)) is None:
                continue
            manifest = self.manifest(release_id)
            self._check_files(manifest)
            for check in checks:
                check(manifest)
            self._set_active(release_id, history[position + 1 :])
            return manifest
        raise ReleaseError(f"model store {self.url}: no earlier release to go back to")

    def kept(self) -> set[str]:
        """The ids that pruning keeps: the active release, the one before it, and those made after the active one."""
        releases = self.list()
        record = self.active_record()
        if record is None:
            return {release.id for release in releases}
        created = self.manifest(record.id).created
        newer = {release.id for release in releases if release.created > created}
        present = {release.id for release in releases}
        previous = next((release_id for release_id in record.history if release_id in present), None)
        return newer | {record.id} | ({previous} if previous else set())

    def prune(self) -> tuple[str, ...]:
        """Delete every release that is not `kept()`. Returns the deleted ids."""
        kept = self.kept()
        deleted = tuple(release.id for release in self.list() if release.id not in kept)
        for release_id in deleted:
            self.delete(release_id)
        return deleted

    def delete(self, release_id: str) -> None:
        """Delete a release, its manifest first. Raises ReleaseError when it is the active one."""
        if self.active() == release_id:
            raise ReleaseError(f"release {release_id} is active; activate another one before deleting it")
        with self._errors():
            manifest = str(self._manifest_path(release_id))
            if self._fs.exists(manifest):
                self._fs.rm_file(manifest)
            folder = str(self._path(release_id))
            if self._fs.exists(folder):
                self._fs.rm(folder, recursive=True)

    def set_mark(self, name: str, release_id: str) -> None:
        """Note under a name which release a training ended with, for whoever waits for that training."""
        self._write(self._mark_path(name), release_id.encode())

    def marked(self, name: str) -> Manifest:
        """The release that was noted under a name. Raises ReleaseError when none is, or it is gone."""
        content = self._read(self._mark_path(name))
        if content is None:
            raise ReleaseError(f"model store {self.url}: no training has ended under the mark {name}")
        return self.manifest(content.decode())

    def _mark_path(self, name: str) -> PurePosixPath:
        if not is_release_id(name):
            raise ReleaseError(f"{name!r} is no mark: letters, digits and .-_ only")
        return self._root / "marks" / name

    def _download(self, manifest: Manifest, target: Path) -> None:
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        damaged = temporary.with_name(f"{temporary.name}.damaged")
        try:
            with self._errors():
                for name in manifest.files:
                    path = temporary / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._fs.get_file(str(self._path(manifest.id, name)), str(path))
            verify_folder(temporary, manifest)
            if target.exists():
                target.rename(damaged)
            temporary.rename(target)
        except OSError as error:
            # Another process may have put the same release there in between: then it is as good as ours.
            if not _is_whole(target, manifest):
                raise ReleaseError(f"{target}: cannot write release {manifest.id}: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)

    def _remove_old_copies(self, newest: Path) -> None:
        if isinstance(self._fs, LocalFileSystem) and newest.parent.resolve() == Path(self._root / "releases").resolve():
            return  # the store itself
        os.utime(newest)
        copies = [one for one in newest.parent.iterdir() if is_release_id(one.name) and (one / MANIFEST).is_file()]
        old = sorted(copies, key=lambda one: one.stat().st_mtime_ns)[:-_COPIES]
        active = self._active_or_none() if old else None
        for copy in old:
            if active is None or copy.name != active.id:
                shutil.rmtree(copy, ignore_errors=True)

    def _check_files(self, manifest: Manifest) -> None:
        with self._errors():
            self._fs.invalidate_cache()
            for name, entry in manifest.files.items():
                path = str(self._path(manifest.id, name))
                size = self._fs.size(path) if self._fs.exists(path) else None
                if size != entry.size:
                    raise ReleaseError(
                        f"release {manifest.id} refused: {name} has {size if size is not None else 'no'} bytes "
                        f"in the store, {entry.size} in the manifest; put the release there again"
                    )

    def _active_or_none(self) -> Active | None:
        try:
            return self.active_record()
        except ReleaseError as error:
            _log.warning("active object replaced", error=str(error))
            return None

    def _set_active(self, release_id: str, history: tuple[str, ...]) -> None:
        record = Active(id=release_id, since=datetime.now(timezone.utc), history=history[:_HISTORY])
        self._write(self._root / "active", record.model_dump_json(indent=2).encode())

    def _path(self, release_id: str, name: str = "") -> PurePosixPath:
        if not is_release_id(release_id):
            raise ReleaseError(f"{release_id!r} is no release id: letters, digits and .-_ only")
        return self._root / "releases" / release_id / name

    def _manifest_path(self, release_id: str) -> PurePosixPath:
        return self._path(release_id, MANIFEST)

    def _read(self, path: PurePosixPath) -> bytes | None:
        with self._errors():
            try:
                content: bytes = self._fs.cat_file(str(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
            return content

    def _write(self, path: PurePosixPath, content: bytes) -> None:
        with self._errors():
            self._fs.makedirs(str(path.parent), exist_ok=True)
            if isinstance(self._fs, LocalFileSystem):
                replace_file(Path(path), content)
            else:  # a put of one object is atomic there
                self._fs.pipe_file(str(path), content)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what a file system raises into our errors."""
        try:
            yield
        except RecmeshError:
            raise
        except FileNotFoundError as error:
            raise ReleaseError(f"model store {self.url}: {error}") from error
        except Exception as error:  # each fsspec backend has its own
            raise Unavailable(f"model store {self.url}: {type(error).__name__}: {error}") from error


def _is_whole(folder: Path, manifest: Manifest) -> bool:
    try:
        verify_folder(folder, manifest)
    except (ReleaseError, OSError):
        return False
    return True


def _served(manifest: Manifest) -> dict[str, FileEntry]:
    return {name: entry for name, entry in manifest.files.items() if name not in (METRICS_FILE, PAGE_FILE)}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
