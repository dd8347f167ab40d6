"""check: here, or anywhere."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from cnrmirror.audit.compare import compare as compare_mirrors
from cnrmirror.audit.report import Audit, Order, failed
from cnrmirror.audit.run import audit
from cnrmirror.cli import freshness
from cnrmirror.cli.context import Bar, Context, clock, pass_context
from cnrmirror.cli.freshness import fresh_for_option
from cnrmirror.cli.origin import Origin, each_source, origin_options, reader_for, trust_for
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.check import CheckReport
from cnrmirror.mirror.check import check as check_project
from cnrmirror.mirror.home import own_folder
from cnrmirror.model.errors import (
    STALE_ACCEPTED,
    DamageError,
    IncompleteError,
    NetworkError,
    StaleError,
    TrustError,
)
from cnrmirror.model.finding import problem_of
from cnrmirror.objects.base import Reader
from cnrmirror.trust.verify import Trust

_FAILURES = (TrustError, StaleError, IncompleteError, NetworkError)


@click.command()
@origin_options
@click.option("--sample", type=click.IntRange(1), help="Only N packages, chosen at random.")
@click.option("--strict", is_flag=True, help="Also all that is kept, and files too many.")
@click.option("--compare", metavar="URL|DIR",
              help="A second mirror of the same registry: do both tell one story?")  # fmt: skip
@click.option("--no-views", is_flag=True, help="Only the catalog, not the registry's API.")
@fresh_for_option
@pass_context
def check(
    context: Context,
    origin: Origin,
    sample: int | None,
    strict: bool,
    compare: str | None,
    no_views: bool,
    fresh_for: str | None,
) -> None:
    """Compare every digest, and every view with the catalog: here, or (--from) anywhere.

    Here: exit code 6 if something is missing, damaged or too much, 18 if readers refuse the mirror
    because it is expired. With --from, no credentials and no trust are needed: 9 tampered with, 10
    stale, 11 incomplete, 12 network trouble.

    \b
    cnrmirror check --fresh-for 3d
    cnrmirror check --from https://mirror.example.com --root root.json --strict
    """
    least = freshness.fresh_for(fresh_for)
    if not origin.sources:
        _check_here(context, least)
    else:
        order = Order(origin.policy, datetime.now(UTC), sample, strict, not no_views)
        _check_elsewhere(context, origin, order, compare, least)


def _check_here(context: Context, fresh_for: timedelta) -> None:
    project = context.project()
    report = check_project(project)
    found = project.metadata.freshness()
    lines = [
        *_lines(report),
        f"revision {report.revision}: {report.packages} packages, {report.releases} releases, "
        f"{report.blobs} blobs, {report.files} files: {_verdict(report)}",
    ]
    lines.append(freshness.sentence(found, freshness.follower_remedy(project)))
    context.result({**msgspec.to_builtins(report), "freshness": freshness.told(found)}, lines)
    freshness.warn(project)
    if report.findings:
        click.echo(
            "cnrmirror: views are mended by 'cnrmirror build'; "
            "nodes and blobs must be restored from a copy",
            err=True,
        )
        sys.exit(DamageError.exit_code)
    if found.is_refused(clock(), fresh_for):
        sys.exit(freshness.REFUSED)


def _check_elsewhere(
    context: Context, origin: Origin, order: Order, other: str | None, fresh_for: timedelta
) -> None:
    """Audit every source; the exit code is the gravest of all."""
    reports, lines, codes = [], [], []
    for source, reader, trust in each_source(origin):
        now = datetime.now(UTC)  # an audit may take hours
        report = _audit(source, reader, trust, msgspec.structs.replace(order, now=now))
        reports.append(report)
        lines += [
            *_lines(report),
            f"{source}: revision {report.revision}, catalog {report.catalog}: "
            f"{report.packages} packages, {report.releases} releases, {report.blobs} blobs, "
            f"{report.views} views: {_verdict(report)}"
            + ("" if report.complete else " (not everything was looked at)"),
        ]
        codes.append(report.exit_code or (0 if report.fresh else STALE_ACCEPTED))
        if report.expires and _expires_within(report, now, fresh_for):
            lines.append(f"{source}: readers take it until {report.expires} only")
            codes.append(freshness.REFUSED)
        if other and not report.findings:
            told, code = _compare(origin, source, other)
            lines += told
            codes.append(code)
    context.result(reports if len(reports) > 1 else reports[0], lines)
    sys.exit(min(filter(None, codes), default=0))


def _expires_within(report: Audit, now: datetime, fresh_for: timedelta) -> bool:
    """Whether readers refuse a mirror sooner than ``fresh_for``; an expired one has its finding."""
    return bool(fresh_for) and datetime.fromisoformat(report.expires) - now <= fresh_for


def _audit(source: str, reader: Reader, trust: Trust, order: Order) -> Audit:
    name = hashlib.sha256(source.encode()).hexdigest()
    try:
        return audit(reader, trust, order, Bar(), own_folder("CACHE") / "audits" / name)
    except _FAILURES as error:
        return failed(reader.name, error)


def _lines(report: Audit | CheckReport) -> list[str]:
    found = [finding.line for finding in report.findings]
    return [*found, *(f"note\t{note}" for note in report.notes)]


def _verdict(report: Audit | CheckReport) -> str:
    return f"{len(report.findings)} findings" if report.findings else "all well"


def _compare(origin: Origin, source: str, other: str) -> tuple[list[str], int]:
    """What is to be said of two mirrors, and the exit code."""
    try:
        with tempfile.TemporaryDirectory() as work:
            first, second = (_fresh_view(origin, source, o, Path(work)) for o in (source, other))
            notes = compare_mirrors(first, second)
    except _FAILURES as error:
        return [f"{problem_of(error)}\t{other}\t{error.message}"], error.exit_code
    return [f"note\t{note}" for note in notes] or [f"{source} and {other} tell one story"], 0


def _fresh_view(origin: Origin, source: str, place: str, work: Path) -> Remote:
    """A mirror as somebody sees it who remembers nothing: an old one is no fault here."""
    reader = reader_for(place)
    known = trust_for(origin, source, reader)
    with tempfile.TemporaryDirectory(dir=work) as marks:
        trust = Trust(known.pinned, work / place.replace("/", "_"), Path(marks))
        return Remote(reader, trust.verify(reader, origin.policy, datetime.now(UTC)))


COMMAND = check
