"""The model store: releases, and a small object that names the active release, under an fsspec URL.

<url>/releases/<id>/...     the files of a release. manifest.json is written last; without it there is no release
<url>/active                JSON: the active id and the ids that were active before, newest first
<url>/last_active           a copy of `active`, from which an ingestion restores it
<url>/marks/<name>          the id of the release that the latest training with that mark made
<url>/new_items/<id>/...    the items that were ingested after the training of a release: `current` names their file
<url>/rules/<number>        JSON: a version of the rules. The largest number is active
<url>/shown_rates           JSON: how often users acted on what was shown, of the latest releases
<url>/deletions/<id>        is there while a release is being deleted
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import structlog
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from recmesh.errors import RecmeshError, ReleaseError, SettingsError, Unavailable
from recmesh.evaluation.report import METRICS_FILE, PAGE_FILE
from recmesh.evaluation.shown import ShownRates
from recmesh.releases.abandoned import claimed, remove_abandoned
from recmesh.releases.checks import Check, beats_popularity
from recmesh.releases.manifest import (
    MANIFEST,
    FileEntry,
    Index,
    Manifest,
    create_file,
    is_release_id,
    parse_manifest,
    read_manifest,
    replace_file,
    sha256_of,
    verify_folder,
)
from recmesh.releases.new_items import NewItems
from recmesh.releases.rule_versions import RuleVersion
from recmesh.throttle import LogThrottle
from recmesh.urls import open_url

_MAX_HISTORY = 20
_MAX_COPIES = 3
log = structlog.get_logger(__name__)


class Active(BaseModel):
    """The `active` object.

    Attributes:
        id: The id of the active release.
        since: When it was activated.
        history: The ids that were active before, newest first.
        newest: The largest number of a release that the store had then; None in records of version 0.1.0.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    since: AwareDatetime
    history: tuple[str, ...] = ()
    newest: int | None = None

    def follows(self, release: Manifest) -> bool:
        """Whether this activation came after a release was put into the store."""
        if self.newest is None:
            return release.number == 0 and release.created < self.since
        return release.number <= self.newest


def _encoded(record: Active) -> bytes:
    return record.model_dump_json(indent=2).encode()


class ModelStore:
    """Releases under a URL: `file`, `s3`, another one that fsspec can open here, or the path of a folder.

    Every method raises Unavailable if the store does not answer, and ReleaseError if a release is missing or damaged.
    """

    def __init__(self, url: str) -> None:
        """Open the store at a URL.

        Raises:
            SettingsError: If the URL is not supported.
        """
        self.url = url
        try:
            self._fs, root = _opened(url)
        except ValueError as error:
            raise SettingsError(f"model store (RECMESH_MODEL_STORE) {url}: {error}") from None
        self._root = PurePosixPath(root)
        self._unreadable = LogThrottle()

    def put(self, folder: Path) -> Manifest:
        """Copy a release folder into the store. Readers see the release once the last file, the manifest, is there.

        Putting the same release again has no effect. Releases are the same if all files but the report are equal: the
        report contains the duration of the training.

        Returns:
            The manifest in the store.

        Raises:
            ReleaseError: If the folder is incomplete or damaged, or if the store has another release with this id.
        """
        manifest = read_manifest(folder)
        verify_folder(folder, manifest)
        self._finish_deletions()
        stored = self._read(self._manifest_path(manifest.id))
        if stored is not None:
            known = parse_manifest(stored, manifest.id)
            if _files_without_report(known) != _files_without_report(manifest):
                raise ReleaseError(f"model store {self.url}: holds another release {manifest.id}; delete it first")
            return known
        with self._errors():
            for name in manifest.files:
                target = self._path(manifest.id, name)
                self._fs.makedirs(str(target.parent), exist_ok=True)
                self._fs.put_file(str(folder / name), str(target))
        manifest = manifest.model_copy(update={"number": self._newest_number() + 1})
        self._write(self._manifest_path(manifest.id), manifest.model_dump_json(indent=2).encode())
        return manifest

    def list(self) -> list[Manifest]:
        """Return all complete releases, newest first. Unreadable releases are skipped with a warning in the log."""
        manifests = []
        for release_id in self._names(self._root / "releases"):
            if (content := self._read(self._manifest_path(release_id))) is None:
                continue
            try:
                manifests.append(self._parsed(content, release_id))
            except ReleaseError as error:
                if line := self._unreadable.due(release_id, str(error)):
                    log.warning(
                        "unreadable release skipped", release=release_id, reason=str(error), attempts=line.events
                    )
        return sorted(manifests, key=lambda manifest: manifest.order, reverse=True)

    def manifest(self, release_id: str) -> Manifest:
        """Return the manifest of a release.

        Raises:
            ReleaseError: If there is no such release.
        """
        content = self._read(self._manifest_path(release_id))
        if content is None:
            raise ReleaseError(
                f"model store {self.url}: no release {release_id}; `recmesh release list` shows the releases"
            )
        return self._parsed(content, release_id)

    def _parsed(self, content: bytes, release_id: str) -> Manifest:
        """Parse a manifest of the store, whose folder has the name `release_id`."""
        place = f"model store {self.url}: release {release_id}"
        manifest = parse_manifest(content, place)
        if manifest.id != release_id:
            raise ReleaseError(f"{place}: its manifest is that of release {manifest.id}; put both releases there again")
        return manifest

    def read(self, release_id: str, name: str) -> bytes:
        """Return the content of a file of a release, checked by its SHA-256.

        Raises:
            ReleaseError: If the file is missing or damaged.
        """
        manifest = self.manifest(release_id)
        entry = manifest.files.get(name)
        if entry is None:
            why = "an older recmesh made it; train again"
            if manifest.imported:
                why = "its models were imported; docs/models.md says how to measure them"
            if manifest.starter:
                why = "it is a starter, which is not evaluated; it serves until there is a trained release"
            raise ReleaseError(f"release {release_id} has no {name}: {why}")
        content = self._read(self._path(release_id, name))
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ReleaseError(f"model store {self.url}: {name} of release {release_id} is damaged; train again")
        return content

    def set_index(self, release_id: str, index: Index) -> Manifest:
        """Record how the collection of a release is searched. Ingestion knows it after it has built the index."""
        manifest = self.manifest(release_id).model_copy(update={"index": index})
        self._write(self._manifest_path(release_id), manifest.model_dump_json(indent=2).encode())
        return manifest

    def set_new_items(self, release_id: str, items: NewItems) -> None:
        """Record the items that were ingested after the training of a release, in place of those recorded before."""
        content = items.dump() if items else b""
        version = hashlib.sha256(content).hexdigest() if content else ""
        if version != self.new_items_version(release_id):
            if content:
                self._write(self._new_items_path(release_id, version), content)
            self._write(self._new_items_path(release_id, "current"), version.encode())
        # Those recorded before, and what runs that were killed have left.
        for name in self._names(self._new_items_path(release_id)):
            if name not in ("current", version):
                with self._errors(), suppress(FileNotFoundError):
                    self._fs.rm_file(str(self._new_items_path(release_id, name)))

    def new_items_version(self, release_id: str) -> str:
        """Return a text that changes with the items of `new_items`; empty if there are none."""
        return (self._read(self._new_items_path(release_id, "current")) or b"").decode()

    def new_items(self, release_id: str) -> NewItems:
        """Return the items that were ingested after the training of a release.

        Raises:
            ReleaseError: If they are damaged.
        """
        version = self.new_items_version(release_id)
        place = f"model store {self.url}: release {release_id}"
        content = self._read(self._new_items_path(release_id, version)) if version else b""
        if content is None:  # replaced since the version was read
            raise Unavailable(f"{place}: the new items are being replaced")
        return NewItems.load(content, place) if content else NewItems.none()

    def fetch(self, release_id: str, into: Path) -> Path:
        """Copy a release into the folder `into/<id>` and check every file by its SHA-256.

        A complete copy is not fetched again. `into` keeps the copies of the three releases that were fetched last, and
        that of the active release; others are deleted.

        Returns:
            The folder of the copy.

        Raises:
            ReleaseError: If a file in the store is damaged.
        """
        manifest = self.manifest(release_id)
        target = into / release_id
        if not _is_complete(target, manifest):
            into.mkdir(parents=True, exist_ok=True)
            remove_abandoned(into)
            with claimed(target) as temporary:
                self._download(manifest, target, temporary)
        content = manifest.model_dump_json(indent=2).encode()
        if _content(target / MANIFEST) != content:
            replace_file(target / MANIFEST, content)
        # The folder may be read-only, and another process may remove copies, too.
        with suppress(OSError, Unavailable):
            self._remove_old_copies(target)
        return target

    def active(self) -> str | None:
        """Return the id of the active release, if there is one."""
        record = self.active_record()
        return record.id if record else None

    def active_manifest(self) -> Manifest | None:
        """Return the manifest of the active release; None if there is none or if its manifest cannot be read."""
        record = self._active_or_none()
        try:
            return self.manifest(record.id) if record else None
        except ReleaseError as error:
            log.warning("active release is unreadable; skipping the comparison", reason=str(error))
            return None

    def active_record(self) -> Active | None:
        """Return the active release with its history; None if no release is active."""
        content = self._read(self._root / "active")
        if content is None:
            return None
        try:
            return Active.model_validate_json(content)
        except ValidationError:
            raise ReleaseError(f"model store {self.url}: damaged `active` object; activate a release again") from None

    def last_active(self) -> Active | None:
        """Return the record of the latest activation, even if `active` is lost or damaged; None if there was none."""
        if record := self._active_or_none():
            return record
        content = self._read(self._root / "last_active")
        try:
            return None if content is None else Active.model_validate_json(content)
        except ValidationError:
            return None

    def was_active(self, release_id: str) -> bool:
        """Return whether a release is among those that were active last."""
        record = self.last_active()
        return record is not None and release_id in (record.id, *record.history)

    def last_active_manifest(self) -> Manifest | None:
        """Return the manifest of the release that was active last and can still be read, if there is one."""
        record = self.last_active()
        for release_id in (record.id, *record.history) if record else ():
            try:
                return self.manifest(release_id)
            except ReleaseError as error:
                log.warning("unreadable release skipped", release=release_id, reason=str(error))
        return None

    def activate(self, release_id: str, checks: Sequence[Check] = (beats_popularity,)) -> Manifest:
        """Make a release the active release, in an atomic step. Activating the active release has no effect.

        If `active` is lost and this release was active last, the latest activation is restored as it was.

        Args:
            release_id: The id of the release.
            checks: The checks that it must pass.

        Raises:
            ReleaseError: If the release is incomplete or fails a check. The active release stays active.
        """
        manifest = self.manifest(release_id)
        self._check_files(manifest)
        for check in checks:
            check(manifest)
        active, last = self._active_or_none(), self.last_active()
        if active is None and last is not None and last.id == release_id:
            self._write_active(last)
        elif active is None or active.id != release_id:
            history = self._history_after(last) if last else ()
            self._set_active(release_id, tuple(other for other in history if other != release_id))
        return manifest

    def complete_activation(self) -> None:
        """Write what a killed activation has not: the copy of the record of the active release."""
        if record := self._active_or_none():
            self._keep_copy(record)

    def _history_after(self, before: Active) -> tuple[str, ...]:
        """Return what was active before the next release. A rollback never leads to a starter."""
        try:
            starter = self.manifest(before.id).starter
        except ReleaseError:
            starter = False
        return before.history if starter else (before.id, *before.history)

    def rollback(self, checks: Sequence[Check] = ()) -> Manifest:
        """Activate the release that was active before.

        Raises:
            ReleaseError: If there is no earlier release, or if it fails a check.
        """
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
        """Return the ids that `prune` keeps: the active release, its predecessor, and all newer releases.

        A starter is kept only while it is active, or as long as nothing is.
        """
        releases = self.list()
        record = self.active_record()
        if record is None:
            return {release.id for release in releases}
        active = self.manifest(record.id)
        newer = {release.id for release in releases if release.order > active.order and not release.starter}
        present = {release.id for release in releases}
        previous = next((release_id for release_id in record.history if release_id in present), None)
        return newer | {record.id} | ({previous} if previous else set())

    def prune(self) -> tuple[str, ...]:
        """Delete every release that `kept` does not name, and return the deleted ids."""
        self._finish_deletions()
        kept = self.kept()
        deleted = tuple(release.id for release in self.list() if release.id not in kept)
        for release_id in deleted:
            self.delete(release_id)
        return deleted

    def delete(self, release_id: str) -> None:
        """Delete a release, its manifest first. `put` and `prune` finish a deletion that was killed.

        Raises:
            ReleaseError: If the release is active.
        """
        if self.active() == release_id:
            raise ReleaseError(f"release {release_id} is active; activate another one before deleting it")
        record = self._root / "deletions" / self._path(release_id).name
        self._write(record, b"")
        with self._errors():
            manifest = str(self._manifest_path(release_id))
            if self._fs.exists(manifest):
                self._fs.rm_file(manifest)
            self._remove_folder(self._path(release_id))
            self._remove_folder(self._new_items_path(release_id))
            self._fs.rm_file(str(record))

    def _finish_deletions(self) -> None:
        for release_id in self._names(self._root / "deletions"):
            if self._read(self._manifest_path(release_id)) is None:
                self.delete(release_id)

    def _remove_folder(self, path: PurePosixPath) -> None:
        folder = str(path)
        if isinstance(self._fs, LocalFileSystem):
            if self._fs.exists(folder):
                shutil.rmtree(folder)
        else:  # one by one, since `rm` would take * ? [ in the URL for a pattern
            for found in self._fs.find(folder):
                self._fs.rm_file(found)

    def set_mark(self, name: str, release_id: str) -> None:
        """Record under a mark which release a training has made. Ingestion waits for the mark."""
        self._write(self._mark_path(name), release_id.encode())

    def marked(self, name: str) -> Manifest:
        """Return the release that is recorded under a mark.

        Raises:
            ReleaseError: If no release is recorded, or if it was deleted.
        """
        content = self._read(self._mark_path(name))
        if content is None:
            raise ReleaseError(f"model store {self.url}: no training with the mark {name} has finished")
        return self.manifest(content.decode())

    def set_shown_rates(self, rates: ShownRates) -> None:
        """Replace the rates that services export as metrics."""
        self._write(self._root / "shown_rates", rates.model_dump_json(indent=2).encode())

    def shown_rates(self) -> ShownRates | None:
        """Return these rates; None if there are none.

        Raises:
            ReleaseError: They are damaged.
        """
        content = self._read(self._root / "shown_rates")
        return None if content is None else ShownRates.parse(content, f"model store {self.url}: shown_rates")

    def apply_rules(self, text: str, author: str = "", comment: str = "") -> RuleVersion:
        """Make a file of rules the active rules, in an atomic step.

        Args:
            text: The file, which must be valid.
            author: Who applies it.
            comment: Why.

        Returns:
            The new version.

        Raises:
            ReleaseError: Somebody else has applied rules at the same moment.
        """
        number = max(self.rule_numbers(), default=0) + 1
        now = datetime.now(timezone.utc)
        version = RuleVersion(number=number, time=now, author=author, comment=comment, text=text)
        if not self._create(self._rules_path(number), version.model_dump_json(indent=2).encode()):
            raise ReleaseError(
                f"model store {self.url}: version {number} of the rules was applied at the same moment; look at it with"
                " `recmesh rules show`, then apply yours again"
            )
        return version

    def rule_numbers(self) -> Sequence[int]:
        """Return the numbers of all versions of the rules, ascending."""
        return sorted(int(name) for name in self._names(self._root / "rules") if name.isdecimal())

    def rules(self, number: int) -> RuleVersion | None:
        """Return a version of the rules; None if there is none with this number.

        Raises:
            ReleaseError: It is damaged.
        """
        content = self._read(self._rules_path(number))
        return None if content is None else RuleVersion.load(content, number, f"model store {self.url}")

    def _rules_path(self, number: int) -> PurePosixPath:
        return self._root / "rules" / str(number)

    def _mark_path(self, name: str) -> PurePosixPath:
        if not is_release_id(name):
            raise ReleaseError(f"{name!r} is not a valid mark: use only letters, digits and .-_")
        return self._root / "marks" / name

    def _download(self, manifest: Manifest, target: Path, temporary: Path) -> None:
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
            # Another process may have put the same release there in the meantime.
            if not _is_complete(target, manifest):
                raise ReleaseError(f"{target}: cannot write release {manifest.id}: {error}") from error
        finally:
            shutil.rmtree(damaged, ignore_errors=True)

    def _remove_old_copies(self, newest: Path) -> None:
        if isinstance(self._fs, LocalFileSystem) and newest.parent.resolve() == Path(self._root / "releases").resolve():
            return  # this folder is the store, not a cache
        os.utime(newest)
        folders = [path for path in newest.parent.iterdir() if is_release_id(path.name)]
        copies = [path for path in folders if (path / MANIFEST).is_file()]
        old = sorted(copies, key=lambda path: path.stat().st_mtime_ns)[:-_MAX_COPIES]
        active = self._active_or_none() if old else None
        for copy in old:
            if active is None or copy.name != active.id:
                shutil.rmtree(copy, ignore_errors=True)

    def _check_files(self, manifest: Manifest) -> None:
        """Compare every file in the store with its SHA-256.

        Raises:
            ReleaseError: A file is missing or damaged.
        """
        with self._errors():
            self._fs.invalidate_cache()
            for name, entry in manifest.files.items():
                path = str(self._path(manifest.id, name))
                fault = "is missing" if not self._fs.exists(path) else _fault(self._fs, path, entry)
                if fault:
                    raise ReleaseError(
                        f"release {manifest.id} refused: {name} {fault}; put the release into the store again"
                    )

    def _newest_number(self) -> int:
        """The largest number that a release of this store has, or had at the latest activation."""
        last = self.last_active()
        known = last.newest if last and last.newest else 0
        return max([known, *(release.number for release in self.list())])

    def _active_or_none(self) -> Active | None:
        try:
            return self.active_record()
        except ReleaseError as error:
            log.warning("replacing the damaged `active` object", reason=str(error))
            return None

    def _set_active(self, release_id: str, history: tuple[str, ...]) -> None:
        now, newest = datetime.now(timezone.utc), self._newest_number()
        self._write_active(Active(id=release_id, since=now, history=history[:_MAX_HISTORY], newest=newest))

    def _write_active(self, record: Active) -> None:
        """Write the record, and then its copy: the copy never names a release that was not active."""
        self._write(self._root / "active", _encoded(record))
        self._keep_copy(record)

    def _keep_copy(self, record: Active) -> None:
        copy = self._root / "last_active"
        if self._read(copy) != _encoded(record):
            self._write(copy, _encoded(record))

    def _path(self, release_id: str, name: str = "") -> PurePosixPath:
        if not is_release_id(release_id):
            raise ReleaseError(f"{release_id!r} is not a valid release id: use only letters, digits and .-_")
        return self._root / "releases" / release_id / name

    def _new_items_path(self, release_id: str, name: str = "") -> PurePosixPath:
        return self._root / "new_items" / self._path(release_id).name / name

    def _manifest_path(self, release_id: str) -> PurePosixPath:
        return self._path(release_id, MANIFEST)

    def _names(self, folder: PurePosixPath) -> Sequence[str]:
        """The names in a folder, in order, without hidden files and others that are no names of ours."""
        with self._errors():
            self._fs.invalidate_cache()
            found = self._fs.ls(str(folder), detail=False) if self._fs.exists(str(folder)) else []
        return sorted(name for path in found if is_release_id(name := PurePosixPath(path).name))

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
            else:  # in object stores, writing an object is atomic
                self._fs.pipe_file(str(path), content)

    def _create(self, path: PurePosixPath, content: bytes) -> bool:
        """Write a new object. Of several writers, one succeeds; returns whether this one has."""
        with self._errors():
            self._fs.makedirs(str(path.parent), exist_ok=True)
            try:
                if isinstance(self._fs, LocalFileSystem):
                    create_file(Path(path), content)
                else:
                    self._fs.pipe_file(str(path), content, mode="create")
            except FileExistsError:
                return False
        return True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the exceptions of a file system into errors of recmesh."""
        try:
            yield
        except RecmeshError:
            raise
        except FileNotFoundError as error:
            raise ReleaseError(f"model store {self.url}: {error}") from error
        except Exception as error:  # every fsspec backend has its own exceptions
            raise Unavailable(f"model store {self.url}: {type(error).__name__}: {error}") from error


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system and the path of a URL. fsspec would read more into a plain path, such as "a::b"."""
    if "://" in url or url.startswith("file:"):
        return open_url(url)
    return LocalFileSystem(use_listings_cache=False), str(Path(url).expanduser().absolute())


def _fault(file_system: AbstractFileSystem, path: str, entry: FileEntry) -> str:
    """How a file differs from its entry in the manifest; empty if it does not."""
    size = file_system.size(path)
    if size != entry.size:
        return f"has {size} bytes in the store, {entry.size} in the manifest"
    with file_system.open(path, "rb") as file:
        return "" if sha256_of(file) == entry.sha256 else "is damaged in the store: its SHA-256 differs"


def _is_complete(folder: Path, manifest: Manifest) -> bool:
    try:
        verify_folder(folder, manifest)
    except (ReleaseError, OSError):
        return False
    return True


def _files_without_report(manifest: Manifest) -> dict[str, FileEntry]:
    return {name: entry for name, entry in manifest.files.items() if name not in (METRICS_FILE, PAGE_FILE)}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
