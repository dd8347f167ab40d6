"""check of one's own mirror: in its folder, or in its store."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.audit.report import Audit
from cnrmirror.cli import freshness
from cnrmirror.cli.context import Context, clock, counted, plain
from cnrmirror.cli.crews import Wish, check_apart
from cnrmirror.cli.freshness import Told
from cnrmirror.mirror.check import CheckReport
from cnrmirror.mirror.check import check as check_project
from cnrmirror.model.errors import DamageError
from cnrmirror.model.evidence import Checked
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.crew import crew as crews
    from cnrmirror.mirror import project as projects
    from cnrmirror.publish import shared, upkeep
else:
    crews = later("cnrmirror.crew.crew")
    projects = later("cnrmirror.mirror.project")
    shared = later("cnrmirror.publish.shared")
    upkeep = later("cnrmirror.publish.upkeep")

_REPAIRS = "cnrmirror: 'cnrmirror build' repairs views; restore nodes and blobs from a copy"


class CheckedHere(CheckReport, frozen=True, kw_only=True, tag="cnrmirror-check"):
    """What a check of a mirror's own folder saw, and how long readers take the mirror.

    ``began`` and ``ended``: by this machine's clock, ISO 8601, UTC.
    """

    began: str
    ended: str
    freshness: Told


def check_here(context: Context, fresh_for: timedelta, in_words: str | None, wish: Wish) -> None:
    """Check the mirror that -C names, and end with the exit code of what was found.

    Args:
        fresh_for: how long readers must go on to accept it; ``in_words``: as it was given.
        wish: which other processes look first.
    """
    project = context.project()
    wish.check_for(project)
    if wish.address:
        words = ["--fresh-for", in_words] if in_words else []
        if (code := check_apart(context, project, wish, words)) is not None:
            sys.exit(code)
    with wish.crew() as crew:
        if project.partial:
            _check_store(context, project, fresh_for, crew)
        else:
            _check_folder(context, project, fresh_for, crew)


def _check_folder(
    context: Context, project: projects.Project, fresh_for: timedelta, crew: crews.Crew | None
) -> None:
    """Check a mirror that is in the project's folder."""
    began = clock()
    report = check_project(project, crew)
    found = project.metadata.freshness()
    checked = report.checked
    told = [
        *lines(report),
        f"revision {report.revision}: {sums(checked)}, {counted(checked.views, 'file')}: "
        f"{verdict(report)}",
    ]
    remedy = freshness.follower_remedy(project)
    told.append(freshness.sentence(found, remedy))
    value = CheckedHere(
        **msgspec.structs.asdict(report), began=str(began), ended=str(clock()),
        freshness=freshness.told(found),
    )  # fmt: skip
    tell = context.result if report.findings else context.done
    tell(value, told)
    freshness.warn(found, remedy)
    if report.findings:
        click.echo(_REPAIRS, err=True)
        sys.exit(DamageError.exit_code)
    if found.is_refused(clock(), fresh_for):
        sys.exit(freshness.REFUSED)


def _check_store(
    context: Context, project: projects.Project, fresh_for: timedelta, crew: crews.Crew | None
) -> None:
    """Check a mirror that is in an object store; the exit codes are those of a check here."""
    report = upkeep.check(shared.Shared(project), crew)
    tell = context.result if report.findings or report.error else context.done
    checked = report.checked
    found = project.metadata.freshness()
    remedy = freshness.follower_remedy(project)
    summary = (
        f"{report.source}: revision {report.revision}: {sums(checked)}, every key compared: "
        f"{verdict(report)}"
    )
    tell(report, [*lines(report), summary, freshness.sentence(found, remedy)])
    if report.error and not report.findings:
        click.echo(f"cnrmirror: {plain(report.error)}", err=True)
    if report.findings:
        click.echo(_REPAIRS, err=True)
        sys.exit(DamageError.exit_code)
    if report.exit_code:
        sys.exit(report.exit_code)
    freshness.warn(found, remedy)
    if found.is_refused(clock(), fresh_for):
        sys.exit(freshness.REFUSED)


def lines(report: Audit | CheckReport) -> list[str]:
    """A line for each finding and note."""
    found = [finding.line for finding in report.findings]
    return [*found, *(f"note\t{note}" for note in report.notes)]


def sums(checked: Checked) -> str:
    """How much was looked at."""
    return (
        f"{counted(checked.packages, 'package')}, {counted(checked.releases, 'release')}, "
        f"{counted(checked.blobs, 'blob')}"
    )


def verdict(report: Audit | CheckReport) -> str:
    """Whether all is well."""
    return counted(len(report.findings), "finding") if report.findings else "all well"
