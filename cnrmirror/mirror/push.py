"""Push: archives and package folders into the catalog, as one revision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from cnrmirror.archive.identify import Identity, Override, find
from cnrmirror.mirror.attach import attach
from cnrmirror.mirror.change import credited
from cnrmirror.mirror.intake import How, Incoming, Refusal, looked_into, take_all, take_bytes
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.releases import Merge, Pushed, What
from cnrmirror.mirror.repack import repack_for_helm
from cnrmirror.model.documents import Attachment, PackageDocument, all_attachments
from cnrmirror.model.errors import ConflictError, InputError, ReleaseConflict, UsageError
from cnrmirror.objects.files import read_given


class Refused(msgspec.Struct, frozen=True):
    """One that was left out: ``code`` is that of the error, ``reason`` is for people."""

    path: str
    code: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """What a push did; ``revision`` is None if nothing changed."""

    revision: int | None
    pushed: list[Pushed]
    refused: list[Refused] = []


def push(
    project: Project, paths: Sequence[Path], wish: Override, now: str, what: What = What()
) -> Report:
    """Put everything at ``paths`` into the mirror: all of it as one revision, or nothing.

    Args:
        wish: what to call it, where it does not tell itself.
        now: the time of the push, ISO 8601, UTC without an offset (as the registry writes it).

    Raises:
        InputError: a path that is no package, or a hostile archive. Of several, all are named in
            ``details["refused"]``.
        TooLarge: a file to be attached is larger than an archive may be, or there are too many.
        ReleaseConflict: a release is there with another digest; several likewise.
        UsageError: several packages, and one name and release for all of them.
    """
    found = [p for path in paths for p in find(path, wish)]
    if len(found) > 1 and wish.package and wish.release:
        raise UsageError(f"{len(found)} packages cannot all be {wish.package}@{wish.release}")
    if len(found) > 1 and what.attached:
        raise UsageError(f"attachments belong to one release, and these are {len(found)} packages")
    how = How(wish, project.config.limits, what.outside, what.strict)
    with project.signing(now):
        incoming, refusals = [], []
        for item in take_all(project, found, how):
            if isinstance(item, Refusal):
                refusals.append(item)
            else:
                incoming.append(item)
        if what.attached and incoming:
            files = all_attachments(
                incoming[0].attachments,
                (_attachment(project, kind, p) for kind, p in what.attached),
            )
            incoming = [msgspec.structs.replace(incoming[0], attachments=files)]
        return _adopt(project, incoming, refusals, now, what)


def push_blob(
    project: Project,
    data: bytes,
    identity: Identity,
    metadata: msgspec.Raw,
    now: str,
    force: bool,
    by: str = "",
) -> Report:
    """Put one archive given as bytes, as the registry's POST does.

    Args:
        force: a release that is there is replaced.
        by: who asked for it, for the revision's message; "": that is not said.

    Raises:
        ReleaseConflict: the release is there, whatever its digest, and ``force`` is not set.
    """
    with project.signing(now):
        document = project.catalog.get(project.tree(), identity.package)
        if document and document.find(identity.release, identity.media_type) and not force:
            raise ReleaseConflict(
                "Package exists already",
                package=identity.package,
                release=identity.release,
                media_type=identity.media_type,
            )
        info = take_bytes(project.store, data, project.config.limits)
        item = looked_into("POST", identity, info)
        more = repack_for_helm(project.store, identity.package, info, item.info.flags)
        item = msgspec.structs.replace(item, attachments=more)
        return _adopt(project, [item], [], now, What(metadata=metadata, accept=force), by)


def _what(incoming: Sequence[Incoming]) -> str:
    if len(incoming) == 1:
        identity = incoming[0].identity
        return f"{identity.package}@{identity.release} ({identity.media_type})"
    packages = len({item.identity.package for item in incoming})
    if packages == len(incoming):
        return f"{packages} packages"
    return f"{len(incoming)} releases of {packages} package{'' if packages == 1 else 's'}"


def _adopt(
    project: Project,
    incoming: Sequence[Incoming],
    refusals: list[Refusal],
    now: str,
    what: What,
    by: str = "",
) -> Report:
    """One revision out of archives that are in the store; call it while ``signing``."""
    by_package: dict[str, list[Incoming]] = {}
    for item in incoming:
        by_package.setdefault(item.identity.package, []).append(item)
    tree = project.tree()
    changed: dict[str, PackageDocument | None] = {}
    taken: list[tuple[Incoming, Pushed]] = []
    for package, items in sorted(by_package.items()):
        old = project.catalog.get(tree, package) or PackageDocument(package, [])
        merge = Merge(old, now, what, project.config.views.dialect)
        new = merge.of(items)
        taken += merge.taken
        refusals += merge.refusals
        if new != old:
            changed[package] = new
    refusals.sort(key=lambda refusal: refusal.where)
    if refusals and not (what.keep_going and taken):
        _refuse(refusals, len(taken) + len(refusals))
    facts = {item.info.blob.digest: item.facts for item, _ in taken if item.facts}
    message = credited(f"push {_what([item for item, _ in taken])}", by)
    head = project.commit(changed, message, now, facts)
    refused = [Refused(where, error.code, error.message) for where, error in refusals]
    return Report(head.revision if head else None, [pushed for _, pushed in taken], refused)


def _refuse(refusals: Sequence[Refusal], total: int) -> NoReturn:
    """Raises the one error, or one that names all of them."""
    if total == 1:
        raise refusals[0].error
    refused = [
        {"path": where, "code": error.code, "reason": error.message} for where, error in refusals
    ]
    conflicts = all(isinstance(error, ConflictError) for _, error in refusals)
    some = len(refusals) < total
    raise (ReleaseConflict if conflicts else InputError)(
        f"{len(refusals)} of {total} packages are refused, so none was pushed"
        + ("; --keep-going pushes the rest" if some else ""),
        refused=refused,
    )


def _attachment(project: Project, media_type: str, path: Path) -> Attachment:
    """Keep a file that belongs to a release. Raises InputError, TooLarge."""
    data = read_given(path, project.config.limits.packed, "; see limits.packed")
    return attach(project.store, media_type, data)
