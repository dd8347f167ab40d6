"""list: the packages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from cnrmirror.cli import words
from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.later import later
from cnrmirror.objects.parallel import threads

if TYPE_CHECKING:
    from cnrmirror.client import remote as remotes
    from cnrmirror.views import cnr_v1, groups
else:
    remotes = later("cnrmirror.client.remote")
    cnr_v1 = later("cnrmirror.views.cnr_v1")
    groups = later("cnrmirror.views.groups")


_EMPTY = "no packages"


@click.command("list")
@click.option("--namespace", metavar="NS", help="Only this namespace.",
              shell_complete=words.namespaces)  # fmt: skip
@click.option("-t", "--media-type", metavar="T", help="Only packages that have this media type.")
@origin_options
@pass_context
def list_packages(
    context: Context, namespace: str | None, media_type: str | None, origin: Origin
) -> None:
    """List the packages: default release, media types, number of releases.

    Reads this mirror, or the one that --from names, which is verified.

    \b
    cnrmirror list --namespace charts
    cnrmirror list --from https://mirror.example.com --root root.json
    """
    fresh = True
    if origin.sources:
        with threads(remotes.PARALLEL) as executor:
            entries, fresh = read_verified(
                origin, lambda remote: _sorted(remote.documents(executor))
            )
    else:
        entries = _own(context)
    chosen = [
        entry
        for entry in entries
        if (namespace is None or entry.name.startswith(f"{namespace}/"))
        and (media_type is None or media_type in entry.types)
    ]
    rows = [(e.name, e.releases[0], ",".join(sorted(e.types)), len(e.releases)) for e in chosen]
    context.table(chosen, ("PACKAGE", "DEFAULT", "MEDIA TYPES", "RELEASES"), rows, _EMPTY,
                  ("MEDIA TYPES", "RELEASES"))  # fmt: skip
    exit_if_stale(fresh)


def _own(context: Context) -> list[cnr_v1.ListEntry]:
    """As the lists of the site have them, where these are known; else out of every document."""
    project, view = context.project(), cnr_v1.CnrV1.name
    known = project.known_groups(project.head())
    if known is not None:
        return [row.entry() for _, row in groups.every(known[view])]
    refs = project.catalog.packages(project.tree())
    return _sorted(project.catalog.documents(refs))


def _sorted(documents: Iterable[PackageDocument]) -> list[cnr_v1.ListEntry]:
    return sorted((e for e in map(cnr_v1.list_entry, documents) if e), key=lambda entry: entry.name)


COMMAND = list_packages
