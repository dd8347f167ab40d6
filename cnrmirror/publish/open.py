"""The destinations of mirror.yaml: found by name or address, opened, and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cnrmirror.mirror.places import check_place, placed
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model import typed
from cnrmirror.model.errors import UsageError
from cnrmirror.model.near import did_you_mean
from cnrmirror.model.resource import Resource
from cnrmirror.objects.files import replace_durably, storage_errors
from cnrmirror.objects.s3_settings import parse_address
from cnrmirror.objects.scheme import FOLDER, scheme_of
from cnrmirror.publish.diff import Form
from cnrmirror.views import layout as layouts
from cnrmirror.views.hosts import host_files
from cnrmirror.views.site import Site


class _Record(msgspec.Struct, frozen=True):
    learned: dict[str, str] = {}


class DestinationMemory:
    """What a mirror remembers of one destination, private to its folder.

    ``name``: the destination in file names; ``learned``: what ``Objects.learned`` gave last.
    """

    def __init__(self, project: Project, target: PublishTo) -> None:
        self.name = hashlib.sha256(f"{target.endpoint} {target.to}".encode()).hexdigest()[:16]
        self._path = project.layout.destination_memory(self.name)
        self.lock = project.layout.destination_lock(self.name)
        with storage_errors(str(self._path)):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._kept = typed.decode(self._path.read_bytes(), _Record)
        except (FileNotFoundError, msgspec.DecodeError):
            self._kept = _Record()
        self.learned = self._kept.learned

    def save(self, learned: dict[str, str]) -> None:
        """Keep what was learned for the next publish; nothing is written if it is nothing new."""
        now = _Record(learned)
        if now != self._kept:
            replace_durably(self._path, msgspec.json.encode(now), self._path.parent)
            self._kept = now


def find_destinations(project: Project, names: Iterable[str]) -> list[PublishTo]:
    """The targets of these names or addresses; all of mirror.yaml if none is given.

    Raises:
        UsageError: no such target, or none at all.
    """
    known = project.config.publish
    found = []
    for name in names:
        if name in known:
            found.append(placed(project.folder, known[name]))
        elif scheme_of(name) is not FOLDER:
            found.append(PublishTo(to=name))
        elif "/" in name or Path(name).is_dir():
            found.append(PublishTo(to=str(Path(name).resolve())))
        else:
            there = f"there are: {', '.join(known)}" if known else "mirror.yaml names none"
            raise UsageError(
                f"there is no target {name!r}{did_you_mean(name, known)}; {there}; or give "
                "s3://BUCKET/PREFIX (or gs://, az://), or a folder with a '/' in it"
            )
    found = found or [placed(project.folder, target) for target in known.values()]
    if not found:
        raise UsageError(
            "no destination is named: give s3://BUCKET/PREFIX, a folder, or a target of mirror.yaml"
        )
    for target in found:
        if check_place(target) is FOLDER:
            _check_folder(project, Path(target.to))
    return found


def _check_folder(project: Project, folder: Path) -> None:
    ours, there = project.folder.resolve(), folder.resolve()
    layout = project.layout
    # Each may be a symlink to a folder elsewhere.
    private = [path.resolve() for path in (layout.site, layout.state, layout.hosts)]
    if there in (ours, *ours.parents) or any(there.is_relative_to(p) for p in private):
        raise UsageError(f"{folder}: the mirror itself is there; publish to another folder")


def form_of(project: Project, target: PublishTo) -> Form:
    """The views as this destination needs them."""
    settings = project.config.views
    extra: list[Resource] = []
    prefix: str | None = None
    scheme = scheme_of(target.to)
    shape = scheme.shape
    if shape == "objects":
        settings = msgspec.structs.replace(settings, profile="full", precompress=False)
        if target.host == "s3-website":
            prefix = parse_address(target.to)[1]
    elif target.host:
        settings = msgspec.structs.replace(settings, profile="plain")
        json = "json" in target.wanted and target.host != "netlify"
        settings = msgspec.structs.replace(settings, plain_pull="json" if json else "archive")
        extra = host_files(target.host, json)
    site = Site(
        settings, project.config.url, rules=False if shape == "objects" else None,
        templates=project.templates,
    )  # fmt: skip

    def placed(resources: Iterable[Resource]) -> list[Resource]:
        if shape == "objects":
            objects = layouts.as_objects(resources, target.wanted, scheme.slashes)
            return list(objects if prefix is None else layouts.with_redirects(objects, prefix))
        if target.host:
            return list(layouts.as_hosted(resources, target.host, target.wanted))
        return list(resources if target.links else layouts.as_copies(resources, target.wanted))

    forms = ",".join(sorted(target.wanted))
    fingerprint = f"{layouts.VERSION} {site.fingerprint} {target.links} {target.host} {forms}"
    if extra:
        # Their templates may change with a new version of the program.
        files = b"".join(r.body for r in extra if isinstance(r.body, bytes))
        fingerprint += f" {hashlib.sha256(files).hexdigest()[:12]}"
    kind = "bucket" if shape == "objects" else "" if target.links else "folder"
    host = target.host or kind
    lost = layouts.left_out(host, target.wanted) if host else []
    if shape == "objects" and not scheme.slashes and settings.oci:
        lost.append(
            "/v2/, which OCI clients ask first: let the server in front of it answer that with {}"
        )
    return Form(site, placed, extra, fingerprint, target.host, lost)
