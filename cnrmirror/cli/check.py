"""check: here, or anywhere."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from cnrmirror.audit.run import Auditor, failed
from cnrmirror.audit.run import compare as compare_mirrors
from cnrmirror.cli.context import Bar, Context, pass_context
from cnrmirror.cli.origin import Origin, each_source, folder, origin_options, reader_for, trust_for
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.check import check as check_project
from cnrmirror.model.errors import (
    STALE_ACCEPTED,
    DamageError,
    IncompleteError,
    NetworkError,
    StaleError,
    TrustError,
)
from cnrmirror.model.finding import Finding, problem_of
from cnrmirror.trust.verify import Trust


@click.command()
@origin_options
@click.option("--sample", type=click.IntRange(1), help="Only N packages, chosen at random.")
@click.option("--strict", is_flag=True, help="Also all that is kept, and files too many.")
@click.option("--compare", metavar="URL|DIR",
              help="A second mirror of the same registry: do both tell one story?")  # fmt: skip
@click.option("--no-views", is_flag=True, help="Only the catalog, not the registry's API.")
@pass_context
def check(
    context: Context,
    origin: Origin,
    sample: int | None,
    strict: bool,
    compare: str | None,
    no_views: bool,
) -> None:
    """Compare every digest, and every view with the catalog: here, or (--from) anywhere.

    Here: exit code 6 if something is missing, damaged or too much. With --from, no credentials and
    no trust are needed: 9 tampered with, 10 stale, 11 incomplete, 12 network trouble.

    \b
    cnrmirror check
    cnrmirror check --from https://mirror.example.com --root root.json --strict
    """
    if origin.sources:
        _audit(context, origin, sample, strict, compare, not no_views)
    else:
        _check_here(context)


def _line(finding: Finding) -> str:
    return f"{finding.problem}\t{finding.path}\t{finding.reason}"


def _check_here(context: Context) -> None:
    report = check_project(context.project())
    lines = [_line(finding) for finding in report.findings]
    lines += [f"note\t{note}" for note in report.notes]
    lines.append(
        f"revision {report.revision}: {report.packages} packages, {report.releases} releases, "
        f"{report.blobs} blobs, {report.files} files: "
        + (f"{len(report.findings)} findings" if report.findings else "all well")
    )
    context.result(report, lines)
    if report.findings:
        click.echo(
            "cnrmirror: views are mended by 'cnrmirror build'; "
            "nodes and blobs must be restored from a copy",
            err=True,
        )
        sys.exit(DamageError.exit_code)


def _audit(
    context: Context,
    origin: Origin,
    sample: int | None,
    strict: bool,
    compare: str | None,
    views: bool,
) -> None:
    code = 0
    reports = []
    lines = []
    for source, fetcher, trust in each_source(origin):
        name = hashlib.sha256(source.encode()).hexdigest()
        journal = folder("CACHE") / "audits" / name
        auditor = Auditor(fetcher, trust, Bar(), journal)
        clock = datetime.now(UTC)
        try:
            report = auditor.run(origin.policy, clock, sample, strict, views)
        except (TrustError, StaleError, IncompleteError, NetworkError) as error:
            report = failed(fetcher.name, error)
        reports.append(report)
        lines += [_line(finding) for finding in report.findings]
        lines += [f"note\t{note}" for note in report.notes]
        lines.append(
            f"{source}: revision {report.revision}, catalog {report.catalog}: "
            f"{report.packages} packages, {report.releases} releases, {report.blobs} blobs, "
            f"{report.views} views: "
            + (f"{len(report.findings)} findings" if report.findings else "all well")
            + ("" if report.complete else " (not everything was looked at)")
        )
        if compare and not report.findings:
            try:
                lines += _compare(origin, source, compare)
            except (TrustError, StaleError, IncompleteError, NetworkError) as error:
                lines.append(f"{problem_of(error)}\t{compare}\t{error.message}")
                code = min(filter(None, (code, error.exit_code)))
        code = min(filter(None, (code, report.exit_code)), default=0)
        if not code and not report.fresh:
            code = STALE_ACCEPTED
    context.result(reports if len(reports) > 1 else reports[0], lines)
    sys.exit(code)


def _compare(origin: Origin, source: str, other: str) -> list[str]:
    """Both as somebody sees them who has no memory: an old mirror is no fault here."""
    remotes = []
    with tempfile.TemporaryDirectory() as work:
        for place in (source, other):
            fetcher = reader_for(place)
            known = trust_for(origin, source, fetcher)
            trust = Trust(known.pinned, Path(work) / place.replace("/", "_"), Path(work) / "marks")
            (Path(work) / "marks").mkdir(exist_ok=True)
            verified = trust.verify(fetcher, origin.policy, datetime.now(UTC))
            shutil.rmtree(Path(work) / "marks")
            remotes.append(Remote(fetcher, verified))
        notes = compare_mirrors(*remotes)
    return [f"note\t{note}" for note in notes] or [f"{source} and {other} tell one story"]


COMMAND = check
