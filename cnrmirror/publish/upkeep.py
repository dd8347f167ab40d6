"""What keeps a mirror in an object store in order: to check it, to mend it, to tidy it up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.audit.scout import Scouts
from cnrmirror.crew.crew import Crew
from cnrmirror.mirror import retire
from cnrmirror.mirror.places import access_of, open_reader
from cnrmirror.model.errors import BusyError, ConflictError, NotTrusted
from cnrmirror.model.finding import Finding
from cnrmirror.model.instant import Instant
from cnrmirror.publish.look import Overtaken
from cnrmirror.publish.shared import Shared
from cnrmirror.trust.verify import Policy

# What is too much, who publishes there can tell; and freshness is told in another way.
_OTHERWISE = ("extra", "unused", "stale")
_ATTEMPTS = 20
T = TypeVar("T")


def check(shared: Shared, crew: Crew | None = None) -> Audit:
    """Read the whole catalog in the store, as anybody would, and compare every key there is.

    Args:
        crew: other processes that read packages first.

    Returns:
        What an audit says of a mirror elsewhere; views are compared as who publishes there does,
        who knows what is still to be read for a while. That it is expired is no finding.
    """
    project = shared.project
    now = datetime.now(UTC)
    order = Order(Policy(any_age=True), now, strict=True, views=False)
    if shared.catch_up() != "equal":
        raise ConflictError(
            f"{project.folder}: what was done here last is not in {shared.place.name} yet: "
            "'cnrmirror build' brings it there"
        )
    journal = project.layout.scratch / "audit"
    target = shared.target
    scouts = Scouts(crew, target.to, access_of(target)) if crew else None
    with contextlib.closing(open_reader(target)) as reader:
        report = audit(reader, shared.trust(), order, project.progress, journal, scouts=scouts)
    if report.error:
        return report
    found = {f.path: f for f in report.findings if f.problem not in _OTHERWISE}
    for finding in lacking(shared, str(Instant.of(now))):
        found.setdefault(finding.path, finding)
    return msgspec.structs.replace(report, findings=sorted(found.values()))


def lacking(shared: Shared, now: str) -> list[Finding]:
    """What is missing, wrong or too much in the store."""
    return shared.session.audit(now, repair=False)


def mend(shared: Shared, now: str) -> list[Finding]:
    """Write what is missing or wrong in the store, and remove what is too much there.

    Returns:
        What was found, and is put right.
    """
    return _undisturbed(shared, lambda: shared.session.audit(now, repair=True))


def _undisturbed(shared: Shared, work: Callable[[], T]) -> T:
    """Do something to what stands in the store; once more if somebody publishes meanwhile."""
    with shared.alone():
        for _ in range(_ATTEMPTS):
            shared.finish()
            with contextlib.suppress(Overtaken):
                return work()
    raise BusyError(
        f"{shared.place.name}: others publish there all the while, or did not bring a rotation of "
        "keys to its end: run 'cnrmirror refresh', and try again"
    )


def collect(
    shared: Shared, revisions: int, grace_hours: float, now: str, dry_run: bool
) -> list[tuple[str, int]]:
    """Remove from the store what no retained revision needs; see ``mirror.gc.collect``.

    Returns:
        The keys and their sizes in bytes.

    Raises:
        NotTrusted: no key to sign with what is kept.
    """

    def attempt() -> list[tuple[str, int]]:
        return _collect(shared, revisions, grace_hours, now, dry_run)

    return _undisturbed(shared, attempt)


def _collect(
    shared: Shared, revisions: int, grace_hours: float, now: str, dry_run: bool
) -> list[tuple[str, int]]:
    """One attempt. Raises Overtaken."""
    project = shared.project
    sizes = {item.key: item.size for item in shared.place.listing()}
    limit = Instant.parse(now).plus(-timedelta(hours=grace_hours))
    at = project.head().catalog
    going = retire.retirement(project.catalog, project.metadata, at, revisions, limit)
    paths = going.paths if going else []
    extra = [f.path for f in lacking(shared, now) if f.problem == "extra"]
    if going is not None and not dry_run:
        if project.signer is None:
            raise NotTrusted("no keys are at hand to sign with what is kept")
        with project.signing(now):
            retire.note(going, project.layout)
            project.signer.keep_from(going.floor, now)
        shared.share()
    if (paths or extra) and not dry_run:
        shared.session.audit(now, repair=True)
    return [(key, sizes[key]) for key in sorted({*paths, *extra}) if key in sizes]
