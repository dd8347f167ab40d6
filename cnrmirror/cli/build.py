"""build: all views again, and server configurations; facts, if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli.context import Context, counted, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.mirror import hosts
from cnrmirror.mirror.facts import Extracted, extract_anew
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InvalidDocument, NotTrusted
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


@click.command()
@click.option(
    "--facts",
    is_flag=True,
    help="Inspect charts again that an older cnrmirror inspected; makes one revision.",
)
@pass_context
def build(context: Context, facts: bool) -> None:
    """Write all views again, and server configurations into hosts/.

    Only files that differ are written; files that do not belong in the site are removed. If
    the settings of views in mirror.yaml differ from the newest revision's, a revision is made.

    \b
    cnrmirror build
    cnrmirror build --facts
    """
    extracted = extract_anew(signing_project(context), now()) if facts else None
    project = context.project()
    _say_settings(context, project)
    configurations: list[str] = []
    if project.partial:
        found = upkeep.mend(shared.Shared(project), now())
        removed = sum(finding.problem == "extra" for finding in found)
        written = len(found) - removed
    else:
        with project.alone():
            project.require_writable()
            written, removed = project.builder.rebuild(project.head())
            configurations = _configurations(project)
    lines = [_told(extracted)] if extracted else []
    context.done(
        Rendered(written, removed, configurations, extracted),
        [
            *lines,
            f"{counted(written, 'file')} written, {removed} removed"
            + ("; server configurations in hosts/" if configurations else ""),
        ],
    )


def _configurations(project: Project) -> list[str]:
    """The server configurations that are written."""
    try:
        return hosts.write(project)
    except InvalidDocument as error:
        click.echo(f"cnrmirror: no configurations in hosts/: {error.message}", err=True)
        return []


def _say_settings(context: Context, project: Project) -> None:
    """Sign what mirror.yaml says of the views, so that others can render the same."""
    if project.config.follow or project.says(project.root()):
        return
    try:
        signer = signing_project(context)
        with signer.signing(now()):
            signer.commit_tree(signer.tree(), "the views of mirror.yaml", now())
    except NotTrusted as error:
        click.echo(
            f"cnrmirror: the views in mirror.yaml differ from those of the newest revision, "
            f"which could not be signed again: {error.message}; "
            "until the next revision, 'check --from' may find differences",
            err=True,
        )


def _told(extracted: Extracted) -> str:
    at = f": revision {extracted.revision}" if extracted.revision is not None else ""
    odd = len(extracted.unreadable)
    return f"inspected {counted(extracted.archives, 'archive')}{at}" + (
        f"; {odd} could not be read" if odd else ""
    )


COMMAND = build
