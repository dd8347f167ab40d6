"""Compare everything at a destination with what must be there, and put it right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from cnrmirror.model.errors import DamageError
from cnrmirror.model.finding import NOT_REFERRED_TO, OTHER_BYTES, OTHER_SIZE, Finding
from cnrmirror.model.instant import Instant
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, parse_role
from cnrmirror.publish.engine import portions
from cnrmirror.publish.intakes import under_way
from cnrmirror.publish.lease import HeldLease
from cnrmirror.publish.plan import size_of
from cnrmirror.publish.work import Work

_BATCH = 1000
# A newer one of these revokes keys: it is never taken away, nor overwritten.
_OF_A_REVISION = re.compile(rf"{METADATA}/(?P<version>[0-9]+)\.(?P<role>catalog|snapshot)\.json")
_ARCHIVES = "catalog/blobs/"
_KEYS_OF_ROLES = re.compile(rf"{METADATA}/[0-9]+\.(?:root|targets)\.json")


def audit(work: Work, now: str) -> list[Finding]:
    """List the destination and compare it with what must be there.

    While what a former form had may still be read, nothing is too much.
    """
    listed = {item.key: item for item in work.destination.listing()}
    found = []
    for resource in work.everything():
        item = listed.pop(resource.path, None)
        if item is None and resource.path.endswith("/"):
            # Some services list a key as a folder, that is not.
            if work.destination.read(resource.path, MAX_BYTES) is None:
                found.append(Finding(resource.path, "missing", "not there"))
        elif item is None:
            found.append(Finding(resource.path, "missing", "not there"))
        elif not work.destination.holds(item, resource) and not _is_superseded(work, resource):
            same = item.size == size_of(resource)
            found.append(Finding(resource.path, "wrong", OTHER_BYTES if same else OTHER_SIZE))
    if work.sweep(now) <= now:
        if under_way(work.destination, Instant.parse(now)):
            listed = {key: item for key, item in listed.items() if not key.startswith(_ARCHIVES)}
        pending = work.seen.state.pending
        found += [
            Finding(key, "extra", NOT_REFERRED_TO)
            for key in listed
            if key not in pending and work.form.is_ours(key) and not _KEYS_OF_ROLES.fullmatch(key)
        ]
    return sorted(found)


def _is_superseded(work: Work, resource: Resource) -> bool:
    """Whether a signed file is there that somebody else had published under this version.

    Of two mirrors that were joined, each has its own. Readers of today's revision need none.
    """
    match = _OF_A_REVISION.fullmatch(resource.path)
    current = {"catalog": work.head.catalog.version, "snapshot": work.head.snapshot.version}
    if match is None or int(match["version"]) == current[match["role"]]:
        return False
    found = work.destination.read(resource.path, MAX_BYTES)
    try:
        role = parse_role(found[0] if found else b"", resource.path)
    except DamageError:
        return False
    kind = "targets" if match["role"] == "catalog" else "snapshot"
    return (role.type, role.version) == (kind, int(match["version"]))


def repair(work: Work, lease: HeldLease, problems: Sequence[Finding], now: str) -> None:
    """Write what is missing or wrong, then remove what is too much.

    The destination stands at the mirror's own timestamp, so what that names is what must be there.
    """
    wrong = {p.path for p in problems if p.problem != "extra"} - {TIMESTAMP}
    name = work.destination.name
    with stage(work.project.progress, f"Repairing {name}", len(wrong)) as progress:
        for batch in _batches(work, (r for r in work.everything() if r.path in wrong)):
            for portion in portions(batch):
                work.destination.put(portion, progress)
                lease.renew()
    rank = work.form.site.rank
    extra = [p.path for p in problems if p.problem == "extra"]
    extra.sort(key=lambda key: (-rank(key), key))
    for start in range(0, len(extra), _BATCH):
        lease.renew(0)
        work.destination.delete(extra[start : start + _BATCH])
    sweep = "" if work.sweep_is_due(now) else work.sweep(now)
    lease.leave(work.form.fingerprint, work.seen.state.pending, sweep)


def _batches(work: Work, resources: Iterable[Resource]) -> Iterator[list[Resource]]:
    """Lists of one rank each, so that the order holds."""
    rank = work.form.site.rank
    batch: list[Resource] = []
    for resource in resources:
        if batch and (rank(batch[0].path) != rank(resource.path) or len(batch) >= _BATCH):
            yield batch
            batch = []
        batch.append(resource)
    yield batch
