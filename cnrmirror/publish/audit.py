"""Compare everything at a destination with what must be there, and put it right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import METADATA, TIMESTAMP
from cnrmirror.publish.engine import portions
from cnrmirror.publish.lease import HeldLease
from cnrmirror.publish.plan import size_of
from cnrmirror.publish.work import Work
from cnrmirror.views.layout import rank

_BATCH = 1000
# Names at the top of a destination that are a mirror's; others are somebody else's.
_OURS = re.compile(
    r"(?:catalog|cnr|api|version)(?:/.*)?|index\.html|404\.html|_headers|_redirects|\.nojekyll"
    r"|\.well-known/app-registry-uri\.json"
)
# A newer one of these revokes keys: it is never taken away, nor overwritten.
_KEYS_OF_ROLES = re.compile(rf"{METADATA}/[0-9]+\.(?:root|targets)\.json")


class Problem(msgspec.Struct, frozen=True, order=True):
    """One object that is not as it must be."""

    key: str
    problem: Literal["missing", "size", "bytes", "extra"]


def audit(work: Work) -> list[Problem]:
    """List the destination and compare it with what must be there."""
    listed = {item.key: item for item in work.destination.listing()}
    found = []
    for resource in work.everything():
        item = listed.pop(resource.path, None)
        if item is None:
            found.append(Problem(resource.path, "missing"))
        elif not work.destination.holds(item, resource):
            same = item.size == size_of(resource)
            found.append(Problem(resource.path, "bytes" if same else "size"))
    pending = work.seen.state.pending
    found += [
        Problem(key, "extra")
        for key in listed
        if key not in pending and _OURS.fullmatch(key) and not _KEYS_OF_ROLES.fullmatch(key)
    ]
    return sorted(found)


def repair(work: Work, lease: HeldLease, problems: Sequence[Problem]) -> None:
    """Write what is missing or wrong, then remove what is too much.

    The destination stands at the mirror's own timestamp, so what that names is what must be there.
    """
    wrong = {p.key for p in problems if p.problem != "extra"} - {TIMESTAMP}
    name = work.destination.name
    with stage(work.project.progress, f"Repairing {name}", len(wrong)) as progress:
        for batch in _batches(r for r in work.everything() if r.path in wrong):
            for portion in portions(batch):
                work.destination.put(portion, progress)
                lease.renew()
    extra = sorted(
        (p.key for p in problems if p.problem == "extra"), key=lambda key: (-rank(key), key)
    )
    for start in range(0, len(extra), _BATCH):
        lease.renew(0)
        work.destination.delete(extra[start : start + _BATCH])
    lease.leave(work.form.fingerprint, work.seen.state.pending)


def _batches(resources: Iterable[Resource]) -> Iterator[list[Resource]]:
    """Lists of one rank each, so that the order holds."""
    batch: list[Resource] = []
    for resource in resources:
        if batch and (rank(batch[0].path) != rank(resource.path) or len(batch) >= _BATCH):
            yield batch
            batch = []
        batch.append(resource)
    yield batch
