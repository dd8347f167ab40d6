"""check: here, or anywhere."""

from __future__ import annotations

import hashlib
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.audit.compare import compare as compare_mirrors
from cnrmirror.audit.kept import Kept, read_report, write_report
from cnrmirror.audit.report import Audit, Comparison, Order, not_begun
from cnrmirror.audit.run import audit
from cnrmirror.audit.signed import Witness
from cnrmirror.bundle.places import reader_for
from cnrmirror.cli import freshness
from cnrmirror.cli.checkhere import CheckedHere, check_here, lines, sums, verdict
from cnrmirror.cli.context import Bar, Context, clock, counted, pass_context, plain
from cnrmirror.cli.crews import Wish, crew_options, scouts_for
from cnrmirror.cli.freshness import fresh_for_option
from cnrmirror.cli.origin import Origin, origin_options, trust_for
from cnrmirror.model.errors import (
    STALE_ACCEPTED,
    AccessDenied,
    IncompleteError,
    NetworkError,
    NewerFormat,
    StaleError,
    TrustError,
    UsageError,
)
from cnrmirror.model.instant import Instant
from cnrmirror.model.later import later
from cnrmirror.model.schema import schema_text
from cnrmirror.model.xdg import own_folder
from cnrmirror.trust.chain import read_chain
from cnrmirror.trust.verify import Trust
from cnrmirror.views.templates import own_templates

if TYPE_CHECKING:
    from cnrmirror.crew import crew as crews
else:
    crews = later("cnrmirror.crew.crew")

_FAILURES = (TrustError, StaleError, IncompleteError, NetworkError, AccessDenied, NewerFormat)
PAGES_NOT_COMPARED = 20
_PROBLEMS = {9: "wrong", 10: "stale", 11: "missing"}


class Elsewhere(msgspec.Struct, frozen=True):
    """What is wanted of mirrors elsewhere: ``others`` are to be compared with each of them.

    ``kept`` is a report against which the one mirror is held, and ``kept_file`` where it lies;
    ``report`` is a file for the new one.
    """

    origin: Origin
    order: Order
    progress: Bar
    others: Sequence[str]
    fresh_for: timedelta
    kept: Kept | None
    report: Path | None
    kept_file: Path | None
    wish: Wish


@click.command()
@origin_options
@click.option("--sample", type=click.IntRange(1), help="Check only N packages, chosen at random.")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1),
              help="Choose the same sample as the report that has this seed.")  # fmt: skip
@click.option("--strict", is_flag=True,
              help="Check old revisions, too, and look for files that do not belong.")  # fmt: skip
@click.option("--compare", "others", metavar="URL|DIR", multiple=True,
              help="Another mirror of the same registry: do both agree?")  # fmt: skip
@click.option("--no-views", is_flag=True, help="Check only the catalog, not the registry's API.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False),
              help="Keep the report in this file, as --json prints it.")  # fmt: skip
@click.option("--against", type=click.Path(path_type=Path, dir_okay=False),
              help="An earlier --report: is this the same mirror, or a later state?")  # fmt: skip
@click.option("--pages", is_flag=True,
              help="Make the pages for people again, and compare them, too.")  # fmt: skip
@click.option("--templates", type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="The mirror's own templates, needed to compare its pages.")  # fmt: skip
@crew_options(
    "Read packages",
    with_cluster="the mirror must be in a bucket (store), or elsewhere (--from)",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of what --json prints.")
@fresh_for_option
@pass_context
def check(
    context: Context,
    origin: Origin,
    sample: int | None,
    seed: int | None,
    strict: bool,
    others: tuple[str, ...],
    no_views: bool,
    report: Path | None,
    against: Path | None,
    pages: bool,
    templates: Path | None,
    schema: bool,
    fresh_for: str | None,
    wish: Wish,
) -> None:
    """Compare every digest and view with the catalog, here or elsewhere.

    With --from, a mirror elsewhere: no credentials are needed. The exit code is the lowest of what
    was found.

    \b
    cnrmirror check --fresh-for 3d
    cnrmirror check --workers 4
    cnrmirror check --from https://mirror.example.com --root root.json --strict --report day1.json
    cnrmirror check --from https://mirror.example.com --against day1.json
    cnrmirror check --from https://mirror.example.com --root root.json --pages --workers 4
    cnrmirror check --compare https://mirror.example.com --compare https://other.example.com
    """
    if schema:
        click.echo(check_schema())
        return
    origin, others = _places(origin, others, report or against)
    least = freshness.fresh_for(fresh_for)
    wish.check_places(origin.sources)
    if not origin.sources:
        check_here(context, least, fresh_for, wish)
        return
    chosen = secrets.randbits(32) if seed is None and sample is not None else seed
    if pages and no_views:
        raise UsageError("--pages compares the pages, and --no-views leaves them out: use one")
    own = own_templates(Path(), str(templates)) if templates is not None else {}
    order = Order(
        origin.policy, datetime.now(UTC), sample, strict, not no_views, chosen, own, pages
    )
    kept = read_report(against) if against is not None else None
    wanted = Elsewhere(
        origin, order, Bar(quiet=context.quiet), others, least, kept, report, against, wish
    )
    _check_elsewhere(context, wanted)


def _places(
    origin: Origin, others: tuple[str, ...], file: Path | None
) -> tuple[Origin, tuple[str, ...]]:
    """What is to be checked, and what compared with it. Raises UsageError."""
    if not origin.sources and len(others) == 1:
        raise UsageError(f"--compare {others[0]} needs a second mirror: use --from, too")
    if not origin.sources and others:
        origin, others = msgspec.structs.replace(origin, sources=others[:1]), others[1:]
    if file is not None and len(origin.sources) != 1:
        raise UsageError("--report and --against need exactly one --from")
    return origin, others


def _check_elsewhere(context: Context, wanted: Elsewhere) -> None:
    """Audit every source; the exit code is the gravest of all."""
    told: list[str] = []
    codes: list[int] = []
    with wanted.wish.crew() as crew:
        reports = [_report(wanted, source, crew) for source in wanted.origin.sources]
    for source, report in zip(wanted.origin.sources, reports, strict=True):
        told += [*_told(report, source), *_told_besides(report, source)]
        codes += _codes(report)
        if wanted.order.pages and any(each.what == "pages" for each in report.unchecked):
            codes.append(PAGES_NOT_COMPARED)
        if report.expires and _expires_within(report, wanted.fresh_for):
            told.append(f"{source}: readers accept the mirror only until {report.expires}")
            codes.append(freshness.REFUSED)
    tell = context.result if any(codes) else context.done
    tell(reports if len(reports) > 1 else reports[0], told)
    for report in reports:
        if report.error and not report.findings:
            click.echo(f"cnrmirror: {plain(report.error)}", err=True)
    if wanted.report is not None:
        _keep(wanted, wanted.report, reports[0])
    sys.exit(min(filter(None, codes), default=0))


def _codes(report: Audit) -> Iterator[int]:
    """The exit codes of everything that a report says."""
    yield report.exit_code or (0 if report.fresh else STALE_ACCEPTED)
    if report.against is not None:
        yield report.against.exit_code
    yield from (other.exit_code for other in report.compared)


def _keep(wanted: Elsewhere, file: Path, report: Audit) -> None:
    """Write the report; what it contradicts is not lost by that."""
    against = report.against
    spoiled = report.error or (against is not None and against.contradictions)
    if wanted.kept_file is not None and spoiled and file.resolve() == wanted.kept_file.resolve():
        click.echo(
            f"cnrmirror: {file} is kept as it is: it may be evidence; "
            "name another file for the report of this check",
            err=True,
        )
        return
    write_report(file, report)


def _report(wanted: Elsewhere, source: str, crew: crews.Crew | None) -> Audit:
    """All that is to be said of one mirror."""
    # An audit may take hours: the next one begins later.
    order = msgspec.structs.replace(wanted.order, now=datetime.now(UTC))
    reader = reader_for(source)
    try:
        trust = trust_for(wanted.origin, source, reader)
    except _FAILURES as error:
        report = not_begun(reader.name, None, order, error)
    else:
        name = hashlib.sha256(source.encode()).hexdigest()
        journal = own_folder("CACHE") / "audits" / name
        scouts = scouts_for(crew, source)
        report = audit(reader, trust, order, wanted.progress, journal, wanted.kept, scouts)
    compared = (
        [_compare(wanted, source, other) for other in wanted.others] if report.catalog else []
    )
    return msgspec.structs.replace(report, compared=compared, ended=str(clock()))


def _expires_within(report: Audit, fresh_for: timedelta) -> bool:
    """Whether readers refuse a mirror sooner than ``fresh_for``; an expired one has its finding."""
    left = Instant.parse(report.expires).at - Instant.parse(report.began).at
    return bool(fresh_for) and left <= fresh_for


def _told(report: Audit, source: str) -> Iterator[str]:
    """What is found, and a line of sums."""
    if report.error and not report.findings:
        return
    checked = report.checked
    yield from lines(report)
    if not report.catalog:
        yield f"{source}: {verdict(report)}; no catalog was read, so nothing else was checked"
        return
    yield (
        f"{source}: revision {report.revision}, catalog {report.catalog}: "
        f"{sums(checked)}, {counted(checked.views, 'view')}: {verdict(report)}"
        + ("" if report.complete else " (not everything was checked)")
    )


def _told_besides(report: Audit, source: str) -> Iterator[str]:
    """What is said of the kept report, and of other mirrors."""
    against = report.against
    if against is not None:
        yield from (f"wrong\t{source}\t{each.reason}" for each in against.contradictions)
        yield from (f"note\t{note}" for note in against.notes)
        if against.relation == "same":
            yield f"{source}: the same revision as in the kept report"
        elif against.relation == "later":
            number = against.revision
            yield f"{source}: later than the kept report; its revision {number} is in the history"
    for other in report.compared:
        yield from (f"wrong\t{other.place}\t{each.reason}" for each in other.contradictions)
        if other.error:
            problem = _PROBLEMS.get(other.error_code, "network")
            yield f"{problem}\t{other.place}\t{other.error}"
        yield from (f"note\t{note}" for note in other.notes)
        if other.agreed >= 0 and not other.exit_code:
            yield f"{source} and {other.place} agree, up to revision {other.agreed}"


def _compare(wanted: Elsewhere, source: str, other: str) -> Comparison:
    """What another mirror tells beside the one that was checked."""
    try:
        with tempfile.TemporaryDirectory() as work:
            first, second = (
                _witness(wanted.origin, source, o, Path(work)) for o in (source, other)
            )
            return compare_mirrors(first, second, wanted.progress)
    except _FAILURES as error:
        return Comparison(other, error=error.message, error_code=error.exit_code)


def _witness(origin: Origin, source: str, place: str, work: Path) -> Witness:
    """A mirror as somebody sees it who remembers nothing: an old one is no fault here."""
    reader = reader_for(place)
    pinned = trust_for(origin, source, reader).pinned
    with tempfile.TemporaryDirectory(dir=work) as fresh:
        trust = Trust(pinned, Path(fresh) / "cache", Path(fresh) / "marks")
        verified = trust.verify(reader, origin.policy, datetime.now(UTC))
    return Witness(place, reader, verified, read_chain(reader, pinned))


def check_schema() -> str:
    """The JSON Schema (draft 2020-12) of what ``--json`` prints of a check, as text."""
    some, parts = msgspec.json.schema_components(
        (CheckedHere, Audit, list[Audit]), ref_template="#/$defs/{name}"
    )
    title = "cnrmirror --json check: here, --from (one object), several --from (a list)"
    return schema_text(title, {"anyOf": list(some)}, parts)


COMMAND = check
