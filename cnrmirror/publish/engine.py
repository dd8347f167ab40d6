"""Carry out a publish: bring a destination from what it stands at to the mirror's own revision.

The destination's signed timestamp says what is there, so nothing has to be listed. The order is:
what is named by its digest, then archives, manifests, releases, channels, packages, lists, then the
signed metadata, and the timestamp last; removals come after that, leaves later than what referred
to them.

Signed files are created, never overwritten: where a run that was killed, or sleeps, left other
bytes under a version, the revision is signed again with higher ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import NotTrusted, Outdated
from cnrmirror.model.progress import Progress, Total, stage
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import MAX_BYTES, METADATA, TIMESTAMP, FileInfo, SignedHead
from cnrmirror.objects.base import Listed, Objects, is_archive, named_by_digest
from cnrmirror.publish.couriers import Couriers, Errand
from cnrmirror.publish.diff import Batch
from cnrmirror.publish.lease import HeldLease, LeaseLost, moment
from cnrmirror.publish.plan import size_of
from cnrmirror.publish.roles import another
from cnrmirror.publish.total import count
from cnrmirror.publish.work import Work

# Between two of these, a run looks whether it still has the lease.
_BYTES_AT_ONCE = 256 << 20
_AGAIN_AFTER = timedelta(days=1)
_MOST_VERSIONS = 10_000


class Published(msgspec.Struct, frozen=True):
    """What a publish did; ``revision_from`` is None for a destination that was empty.

    ``good_until``: when readers will refuse what is there; "" where it is not the mirror's own.
    """

    place: str
    revision_from: int | None
    revision_to: int
    puts: int
    deletes: int
    bytes: int
    requests: int
    seconds: float
    notes: list[str]
    good_until: str = ""


def carry_out(
    work: Work, lease: HeldLease, now: str, total: Total | None = None,
    couriers: Couriers | None = None,
) -> Published:  # fmt: skip
    """Do all of it, with the lease in hand.

    Args:
        total: how much is written, if that is known; else it is counted if anybody looks.
        couriers: send archives; else this process does.

    Raises:
        LeaseLost: somebody else wrote meanwhile; what they published stands.
        NotTrusted: another root or targets file was published there.
    """
    began = time.monotonic()
    destination = work.destination
    if work.new_form:
        # Killed, views of two forms are there: whoever comes next must trust neither.
        lease.unform()
    known = _left_by_a_first_publish(work)
    views = work.views()
    batches: Iterable[Batch] = views.batches()
    if total is None and work.project.progress.shown:
        total, batches = count(work, views, known, lease.renew)
    workers = f" ({couriers.crew.size} workers)" if couriers else ""
    label = f"Publishing to {destination.name}{workers}"
    with stage(work.project.progress, label, total) as progress:
        errand = Errand(couriers, destination, progress, lease.renew) if couriers else None
        # Of a run that did not come to its end, nobody knows whom it had send archives.
        doubted = errand is not None or work.seen.state.lease is not None
        sender = _Sender(destination, lease, progress, known, doubted, errand)
        deletes = _send(work, sender, batches)
        lease.renew(0)
        head = _sign_off(work, sender, now)
    left, removed = _remove(work, lease, deletes, now)
    lease.leave(work.form.fingerprint, left, work.sweep(now))
    return Published(
        destination.name,
        work.seen.head.revision if work.seen.head else None,
        head.revision,
        sender.puts,
        removed,
        sender.bytes,
        destination.requests + sender.requests,
        round(time.monotonic() - began, 3),
        [*destination.notes, *_notes(work, now), *sender.notes],
        str(work.project.metadata.freshness().first.at),
    )


def _send(work: Work, sender: _Sender, batches: Iterable[Batch]) -> list[str]:
    """Write all but the signed files; what may be removed when those are there."""
    for files in sender.gathered(work.immutable()):
        sender.create(files)
    deletes: list[str] = []
    for batch in batches:
        sender.put(batch.puts)
        deletes += batch.deletes
    return deletes


def _notes(work: Work, now: str) -> Iterator[str]:
    """What is to be said of a form that is new there."""
    if work.seen.head is None or work.new_form:
        yield from (f"left out: {text}" for text in work.form.left_out)
    if (until := work.sweep(now)) > now:
        whose = "its former form has" if work.seen.head else "the publish that was killed left"
        yield f"files that only {whose} stay until {until}; a later publish removes them"


def _remove(
    work: Work, lease: HeldLease, deletes: Sequence[str], now: str
) -> tuple[dict[str, str], int]:
    """Remove what is due; the removals that are still to come, and how many were made."""
    pending = work.pending(deletes, now)
    due = [key for key, when in pending.items() if when <= now]
    retired = work.retired()
    kept: list[str] = []
    if due or retired:
        lease.renew(0)
        kept = work.destination.delete([*due, *retired])
    left = {key: when for key, when in pending.items() if when > now}
    # What a place keeps is in no list any more: that its own address still answers is no failure.
    again = (moment(now) + _AGAIN_AFTER).replace(tzinfo=None).isoformat()
    # A node may be wanted again: those are left to an audit.
    left |= {key: again for key in kept if key in due}
    return left, len(due) + len(retired) - len(kept)


def _left_by_a_first_publish(work: Work) -> dict[str, Listed]:
    """What a first publish that was killed had sent, by key: it is not sent again."""
    if work.seen.head is not None or work.seen.state.lease is None:
        return {}
    return {listed.key: listed for listed in work.destination.listing()}


class _Sender:
    """Writes in portions, and says between two of them that the run is still there.

    Args:
        known: what a first publish that was killed had sent, by key.
        doubted: whether archives may be there with other bytes than their own.
        errand: has archives sent by others.
    """

    def __init__(
        self, destination: Objects, lease: HeldLease, progress: Progress,
        known: dict[str, Listed], doubted: bool, errand: Errand | None,
    ) -> None:  # fmt: skip
        self.puts = self.bytes = 0
        self._destination = destination
        self._lease = lease
        self._progress = progress
        self._known = known
        self._doubted = doubted
        self._errand = errand

    @property
    def requests(self) -> int:
        """How many others sent."""
        return self._errand.requests if self._errand else 0

    @property
    def notes(self) -> list[str]:
        """What is to be said of others that sent."""
        return self._errand.notes() if self._errand else []

    def gathered(self, batches: Iterable[list[Resource]]) -> Iterable[list[Resource]]:
        """The same in lists, of which others send a part."""
        return self._errand.gathered(batches) if self._errand else batches

    def put(self, resources: Sequence[Resource]) -> None:
        for portion in portions(self._left(resources)):
            self._destination.put(portion, self._progress)
            self._lease.renew()

    def create(self, resources: Sequence[Resource]) -> list[str]:
        """See ``Objects.create``; but what may be damaged is written again."""
        known: list[str] = []
        left = self._left(resources)
        if self._errand:
            found = [r for r in left if r.path in self._known]
            left = found + self._errand.run([r for r in left if r.path not in self._known])
        for portion in portions(left):
            damaged = [r for r in portion if self._may_be_damaged(r)]
            self._destination.put(damaged, self._progress)
            new = [r for r in portion if not self._may_be_damaged(r)]
            known += self._destination.create(new, self._progress)
            self._lease.renew()
        return known

    def _may_be_damaged(self, resource: Resource) -> bool:
        """Whether other bytes may be there under a digest."""
        if resource.path in self._known and named_by_digest(resource.path):
            return True
        # Workers can write where they like among the archives, whatever they were given.
        return self._doubted and is_archive(resource)

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        self._destination.swap(key, data, tag)
        self._progress.advance(1, len(data))
        self.puts += 1
        self.bytes += len(data)

    def _left(self, resources: Sequence[Resource]) -> list[Resource]:
        """What is not there yet: it is counted as sent."""
        left = [r for r in resources if not self._has(r)]
        self.puts += len(left)
        self.bytes += sum(map(size_of, left))
        return left

    def _has(self, resource: Resource) -> bool:
        listed = self._known.get(resource.path)
        return listed is not None and self._destination.holds(listed, resource)


def portions(resources: Sequence[Resource]) -> Iterator[list[Resource]]:
    """The same in lists of so few bytes that a lease can be renewed between them."""
    portion: list[Resource] = []
    size = 0
    for resource in resources:
        portion.append(resource)
        size += size_of(resource)
        if size >= _BYTES_AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


# -- the signed files ------------------------------------------------------------------------------


def _sign_off(work: Work, sender: _Sender, now: str) -> SignedHead:
    """Create the signed files, then swap the timestamp; what was made current there."""
    if not work.behind:
        return work.head
    while taken := _others(work, sender, [r for r in work.metadata() if not _is_root(r.path)]):
        _refuse(work, [key for key in taken if ".targets." in key])
        work.head = sign_above(work.project, work.destination, work.head, taken, now)
    # From a new root on, readers take only a timestamp that its keys signed: nothing lies between.
    _refuse(work, _others(work, sender, [r for r in work.metadata() if _is_root(r.path)]))
    try:
        sender.swap(TIMESTAMP, work.head.timestamp, work.seen.tag)
    except Outdated as error:
        raise LeaseLost(f"{work.destination.name}: somebody else published there") from error
    return work.head


def _is_root(key: str) -> bool:
    return key.endswith(".root.json")


def _others(work: Work, sender: _Sender, files: Sequence[Resource]) -> list[str]:
    """Create these; the keys under which other bytes are there already."""
    ours = {r.path: r.body for r in files}
    known = sender.create(files)
    found = {key: work.destination.read(key, MAX_BYTES) for key in known}
    return [key for key, other in found.items() if other is None or other[0] != ours[key]]


def _refuse(work: Work, keys: Sequence[str]) -> None:
    if keys:
        raise another(work.project, work.destination, keys[0])


def sign_above(
    project: Project, destination: Objects, head: SignedHead, taken: Sequence[str], now: str
) -> SignedHead:
    """Sign the mirror's revision again with versions above those that are taken at a destination.

    Args:
        head: what was to be published.
        taken: the keys of signed files that are there with other bytes.

    Raises:
        LeaseLost: the mirror went on meanwhile.
        NotTrusted: an online key is missing.
    """
    with project.signing(now):
        ours = project.metadata.signed_head()
        if ours.at != head.at:
            raise LeaseLost("this mirror got another revision meanwhile")
        above, kept = ours, ours.kept
        for role in ("catalog", "snapshot"):
            versions = [v for key in taken if (v := _version(key, role))]
            if not versions:
                continue
            info = getattr(above, role)
            last = _last_version(destination, role, max(info.version, *versions))
            above = msgspec.structs.replace(above, **{role: FileInfo(last)})
            # What was found there is nobody's history: files are kept from the new one on.
            kept = msgspec.structs.replace(kept, **{role: last + 1})
        above = msgspec.structs.replace(above, kept=kept)
        assert project.signer is not None
        project.signer.sign_revision(project.head(), now, above)
        return project.metadata.signed_head()


def _version(key: str, role: str) -> int:
    number, _, rest = key.removeprefix(f"{METADATA}/").partition(".")
    return int(number) if rest == f"{role}.json" else 0


def _last_version(destination: Objects, role: str, version: int) -> int:
    """The highest version of a role that is there, or ``version``."""
    for following in range(version + 1, version + _MOST_VERSIONS):
        if destination.read(f"{METADATA}/{following}.{role}.json", MAX_BYTES) is None:
            return following - 1
    raise NotTrusted(
        f"{destination.name}: thousands of {role} files that nobody signed for: publish to an "
        "empty destination"
    )
