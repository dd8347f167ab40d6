"""Roots and targets at a destination that are newer than the mirror's own, or others."""

from __future__ import annotations

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, NotTrusted
from cnrmirror.model.signed import MAX_BYTES, METADATA
from cnrmirror.objects.base import Objects
from cnrmirror.publish.look import Seen
from cnrmirror.publish.merge import take_superseded
from cnrmirror.trust.roles import parse, registry_of
from cnrmirror.trust.succession import Succession, succession
from cnrmirror.trust.verify import parse_pinned


def newer_roles(project: Project, destination: Objects, seen: Seen) -> Succession | None:
    """What follows the mirror's own root and targets there; None if nothing does.

    Raises:
        NotTrusted: a root or targets file there is another than the mirror's own, or not signed
            by who may sign it.
    """
    if seen.head is None and seen.state_tag is None:
        return None

    def read(name: str) -> bytes | None:
        found = destination.read(f"{METADATA}/{name}", MAX_BYTES)
        return found[0] if found else None

    ours = project.metadata.signed_head()
    root_name = f"{ours.kept.root}.root.json"
    root = project.metadata.read(root_name)
    _refuse_another(project, destination, root_name, root, read(root_name))
    found = succession(root, ours.targets.version, read, destination.name)
    if seen.head is not None and not found.targets:
        same = seen.head.targets.version < ours.targets.version
        if not same and seen.head.targets.hashes != ours.targets.hashes:
            raise another(project, destination, f"{METADATA}/{ours.targets.version}.targets.json")
    return found or None


def _refuse_another(
    project: Project, destination: Objects, name: str, ours: bytes, theirs: bytes | None
) -> None:
    if theirs is None or theirs == ours:
        return
    try:
        parse(theirs, name)
    except CnrMirrorError:
        return  # damage, which an audit puts right
    raise another(project, destination, f"{METADATA}/{name}")


def another(project: Project, destination: Objects, key: str) -> NotTrusted:
    """The error for a root or targets file that is another than the mirror's own."""
    found = destination.read(f"{METADATA}/1.root.json", MAX_BYTES)
    registry = _registry(found[0]) if found else ""
    if registry not in ("", project.config.id):
        return NotTrusted(
            f"{destination.name}: another registry ({registry}) is published there: choose an "
            "empty place, or empty this one first"
        )
    return NotTrusted(
        f"{destination.name}/{key}: another file of this version was published there, "
        "so keys were rotated in two mirrors: publish from the mirror that rotated first; the "
        "other one needs a copy of its site/catalog/metadata and keys"
    )


def _registry(root: bytes) -> str:
    """The registry that a root names; "" if it names none."""
    try:
        return registry_of(parse_pinned(root, ""))
    except CnrMirrorError:
        return ""


def take_over(
    project: Project, destination: Objects, newer: Succession, seen: Seen, now: str
) -> None:
    """Make newer roots and targets the mirror's own, and sign its revision with their keys.

    Raises:
        NotTrusted: a key that signs there now is not here; nothing was signed or written.
    """
    signer = project.signer
    ours = project.metadata.signed_head()
    try:
        if signer is None or project.config.follow:
            raise NotTrusted("this mirror signs nothing itself: import it from there")
        signer.require_keys(newer.newest_root, newer.newest_targets)
    except NotTrusted as error:
        raise NotTrusted(
            f"{_news(destination, newer, ours.kept.root)}; {_advice(error)}"
        ) from error
    with project.writing():
        for version, data in newer.targets.items():
            signer.write_targets(data, version)
        for version, data in newer.roots.items():
            signer.write_root(data, version)
        signer.sign_revision(project.head(), now, seen.head)
        if seen.head is not None:
            take_superseded(project, destination, seen.head)


def _news(destination: Objects, newer: Succession, root: int) -> str:
    found = []
    if newer.roots:
        found.append(f"root {max(newer.roots)} is published there, this mirror has root {root}")
    if newer.targets:
        found.append(
            f"targets {max(newer.targets)} is published there, this mirror has an older one"
        )
    return f"{destination.name}: keys were rotated: {' and '.join(found)}"


def _advice(error: NotTrusted) -> str:
    details = error.details
    if "keyids" not in details:
        return f"{error.message}; nothing was signed or written"
    return (
        f"the {details['purpose']} key that signs there now ({details['keyids']}) is not in "
        f"{details['folder']}: copy it there from the mirror that rotated, and publish again; "
        "nothing was signed or written"
    )
