"""The places of mirror.yaml that a mirror is published to, made into objects."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cnrmirror.mirror.config import PublishTo
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import UsageError
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects, Reader
from cnrmirror.objects.bucket import BucketReader, S3Settings, parse_address
from cnrmirror.objects.files import storage_errors
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.publish.engine import Form
from cnrmirror.views import layout
from cnrmirror.views.cnr_v1 import ListEntry
from cnrmirror.views.hosts import host_files
from cnrmirror.views.site import Site, ViewEntries, changes_of


class Known(msgspec.Struct):
    """What this mirror remembers of a place: whether an endpoint respects conditions."""

    publisher: str
    conditions: bool | None = None
    endpoint: str = ""


class Memory:
    """A mirror's notes on one place, private to this folder."""

    def __init__(self, project: Project, target: PublishTo) -> None:
        name = hashlib.sha256(f"{target.endpoint} {target.to}".encode()).hexdigest()[:16]
        self._path = project.layout.destination_memory(name)
        self.lock = project.layout.destination_lock(name)
        with storage_errors(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.known = msgspec.json.decode(self._path.read_bytes(), type=Known)
        except (FileNotFoundError, msgspec.DecodeError):
            self.known = Known(uuid.uuid4().hex)
            self.save()

    def save(self) -> None:
        """Keep it for the next publish."""
        temporary = self._path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(self.known))
        temporary.replace(self._path)


def find_destinations(project: Project, names: Iterable[str]) -> list[PublishTo]:
    """The targets of these names or addresses; all of mirror.yaml if none is given.

    Raises:
        UsageError: no such target, or none at all.
    """
    known = project.config.publish
    found = []
    for name in names:
        if name in known:
            found.append(_placed(project, known[name]))
        elif name.startswith("s3://") or "/" in name or Path(name).is_dir():
            found.append(
                PublishTo(to=name if name.startswith("s3://") else str(Path(name).resolve()))
            )
        else:
            raise UsageError(
                f"there is no target {name!r}; there are: {', '.join(known) or 'none'}; "
                "or give s3://BUCKET/PREFIX, or a folder with a '/' in it"
            )
    found = found or [_placed(project, target) for target in known.values()]
    if not found:
        raise UsageError(
            "publish to where? name s3://BUCKET/PREFIX, a folder, or a target of mirror.yaml"
        )
    for target in found:
        if target.is_bucket:
            parse_address(target.to)
        else:
            _check_folder(project, Path(target.to))
    return found


def _check_folder(project: Project, folder: Path) -> None:
    ours, there = project.folder.resolve(), folder.resolve()
    private = [ours / name for name in ("site", ".state", "hosts")]
    if there in (ours, *ours.parents) or any(there.is_relative_to(p) for p in private):
        raise UsageError(f"{folder}: the mirror itself is there; publish to another folder")


def _placed(project: Project, target: PublishTo) -> PublishTo:
    if target.is_bucket:
        return target
    return msgspec.structs.replace(target, to=str(project.folder.resolve() / target.to))


def open_destination(project: Project, target: PublishTo) -> Objects:
    """The place itself."""
    if target.is_bucket:
        return BucketObjects(target.to, _settings(target), project.store)
    return FolderObjects(Path(target.to), project.store, target.portable)


def reader_of(target: PublishTo) -> Reader:
    """Reads the place as a client does."""
    if target.is_bucket:
        return BucketReader(target.to, _settings(target))
    return FolderReader(Path(target.to))


def _settings(target: PublishTo) -> S3Settings:
    return S3Settings(
        target.endpoint, target.region, target.profile, target.path_style, target.storage_class,
        target.encryption, target.kms_key,
    )  # fmt: skip


def form_of(project: Project, target: PublishTo) -> Form:
    """The views as this place needs them."""
    settings = project.config.views
    extra: list[Resource] = []
    if target.is_bucket:
        settings = msgspec.structs.replace(settings, profile="full", precompress=False)
    elif target.host:
        settings = msgspec.structs.replace(settings, profile="plain")
        extra = host_files(target.host, settings.plain_pull == "json")
    views = Site(settings, project.config.url)
    links = target.links and not target.host

    def placed(resources: Iterable[Resource]) -> list[Resource]:
        if target.is_bucket:
            return list(layout.as_objects(resources, target.bare_prefix, target.pull == "json"))
        return list(layout.as_files(resources, links))

    def package(document: PackageDocument | None) -> list[Resource]:
        return placed(views.package(views.load(project.catalog, document)) if document else [])

    def aggregates(rows: list[ListEntry], changed: Iterable[ListEntry]) -> list[Resource]:
        entries: ViewEntries = {"cnr-v1": {entry.name: entry for entry in rows}}
        before: ViewEntries = {"cnr-v1": {entry.name: entry for entry in changed}}
        return placed(views.lists(entries, changes_of(before, entries, before["cnr-v1"])))

    def fixed() -> list[Resource]:
        return [*placed(views.fixed()), *extra]

    fingerprint = f"{views.fingerprint} {links} {target.host} {target.pull} {target.bare_prefix}"
    if extra:
        # Their templates may change with a new version of the program.
        files = b"".join(r.body for r in extra if isinstance(r.body, bytes))
        fingerprint += f" {hashlib.sha256(files).hexdigest()[:12]}"
    return Form(fingerprint, package, aggregates, fixed)
