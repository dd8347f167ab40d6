"""build: all views again, and server configurations; facts, if asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from cnrmirror.cli.changing import DRY_RUN, revision_line
from cnrmirror.cli.context import Context, counted, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import hosts
from cnrmirror.mirror.facts import Extracted, extract_anew
from cnrmirror.mirror.lacking import lacking
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rehearse import rehearsal
from cnrmirror.model.errors import InvalidDocument, NotTrusted
from cnrmirror.model.finding import Finding
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.publish import shared, upkeep
else:
    shared = later("cnrmirror.publish.shared")
    upkeep = later("cnrmirror.publish.upkeep")


class Rendered(msgspec.Struct, frozen=True):
    """What ``--json`` says of a build: how many files, the configurations in ``hosts/``.

    ``facts``: with --facts, what was looked into.
    """

    written: int
    removed: int
    hosts: list[str]
    facts: Extracted | None


class WouldRender(msgspec.Struct, frozen=True):
    """What ``--json --dry-run`` says: how many files, and which configurations would be written.

    ``revision``: the number that a revision would have; null if none would be made.
    """

    written: int
    removed: int
    hosts: list[str]
    facts: Extracted | None
    revision: int | None
    dry_run: Literal[True] = True


@click.command()
@click.option(
    "--facts",
    is_flag=True,
    help="Inspect charts again that an older cnrmirror inspected; makes one revision.",
)
@DRY_RUN
@pass_context
def build(context: Context, facts: bool, dry_run: bool) -> None:
    """Write all views again, and server configurations into hosts/.

    Only files that differ are written; files that do not belong in the site are removed. If
    the settings of views in mirror.yaml differ from the newest revision's, a revision is made.

    \b
    cnrmirror build --dry-run
    cnrmirror build
    cnrmirror build --facts
    """
    if dry_run:
        _rehearse(context, facts)
        return
    extracted = extract_anew(signing_project(context), now()) if facts else None
    project = context.project()
    if not _is_said(project):
        _say_settings(signing_project(context))
    configurations: list[str] = []
    if project.partial:
        project = signing_project(context)
        written, removed = _counts(upkeep.mend(shared.Shared(project), now()))
    else:
        with project.alone():
            project.require_writable()
            written, removed = project.builder.rebuild(project.head())
            configurations = _configurations(lambda: hosts.write(project))
    lines = [_told(extracted)] if extracted else []
    context.done(
        Rendered(written, removed, configurations, extracted),
        [
            *lines,
            f"{counted(written, 'file')} written, {removed} removed"
            + ("; server configurations in hosts/" if configurations else ""),
        ],
    )


def _rehearse(context: Context, facts: bool) -> None:
    """Only say what would be written, removed and signed."""
    with rehearsal(signing_project(context)) as project:
        project.require_writable()
        extracted = extract_anew(project, now()) if facts else None
        if project.made is None and not _is_said(project):
            _say_settings(project)
        root = project.made or project.root()
        configurations: list[str] = []
        if project.partial:
            written, removed = _counts(upkeep.lacking(shared.Shared(project), now()))
        else:
            written, removed = lacking(project, root)
            configurations = _configurations(lambda: hosts.lacking(project))
    revision = root.revision if project.made else None
    lines = [_told(extracted, "would be ")] if extracted else []
    lines.append(
        f"{written} files would be written, {removed} removed"
        + (f"; in hosts/: {', '.join(configurations)}" if configurations else "")
    )
    context.result(
        WouldRender(written, removed, configurations, extracted, revision),
        [*lines, revision_line(revision, True)] if revision is not None else lines,
    )


def _counts(findings: Sequence[Finding]) -> tuple[int, int]:
    """How many objects are written and removed to put these right."""
    removed = sum(finding.problem == "extra" for finding in findings)
    return len(findings) - removed, removed


def _configurations(found: Callable[[], list[str]]) -> list[str]:
    """The names of server configurations; none, and why, if there can be none."""
    try:
        return found()
    except InvalidDocument as error:
        click.echo(f"cnrmirror: no configurations in hosts/: {error.message}", err=True)
        return []


def _is_said(project: Project) -> bool:
    """Whether what mirror.yaml says of the views is signed, or is not this mirror's to sign."""
    return bool(project.config.follow) or project.says(project.root())


def _say_settings(project: Project) -> None:
    """Sign what mirror.yaml says of the views, so that others can render the same."""
    try:
        with project.signing(now()):
            project.commit_tree(project.tree(), "the views of mirror.yaml", now())
    except NotTrusted as error:
        click.echo(
            f"cnrmirror: the views in mirror.yaml differ from those of the newest revision, "
            f"which could not be signed again: {error.message}; "
            "until the next revision, 'check --from' may find differences",
            err=True,
        )


def _told(extracted: Extracted, would: str = "") -> str:
    at = f": {would}revision {extracted.revision}" if extracted.revision is not None else ""
    odd = len(extracted.unreadable)
    return f"inspected {counted(extracted.archives, 'archive')}{at}" + (
        f"; {odd} could not be read" if odd else ""
    )


COMMAND = build
