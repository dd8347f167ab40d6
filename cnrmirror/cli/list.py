"""list: the packages."""

from __future__ import annotations

from collections.abc import Iterable

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.client.remote import PARALLEL
from cnrmirror.model.documents import PackageDocument
from cnrmirror.objects.parallel import threads
from cnrmirror.views.cnr_v1 import ListEntry
from cnrmirror.views.cnr_v1 import list_entry as row


@click.command("list")
@click.option("--namespace", metavar="NS", help="Only this namespace.")
@click.option("-t", "--media-type", metavar="T", help="Only packages that have this format.")
@origin_options
@pass_context
def list_packages(
    context: Context, namespace: str | None, media_type: str | None, origin: Origin
) -> None:
    """The packages: name, default release, formats, number of releases.

    Of this mirror, or of the one that --from names: verified.
    """

    def wanted(documents: Iterable[PackageDocument]) -> list[ListEntry]:
        return [
            item
            for item in map(row, documents)
            if item
            and (namespace is None or item.name.startswith(f"{namespace}/"))
            and (media_type is None or media_type in item.types)
        ]

    fresh = True
    if origin.sources:
        with threads(PARALLEL) as executor:
            found, fresh = read_verified(origin, lambda remote: wanted(remote.documents(executor)))
    else:
        project = context.project()
        refs = project.catalog.packages(project.tree())
        found = wanted(project.catalog.document(ref) for ref in refs)
    found.sort(key=lambda item: item.name)
    rows = [(r.name, r.releases[0], ",".join(sorted(r.types)), len(r.releases)) for r in found]
    context.table(found, ("PACKAGE", "DEFAULT", "FORMATS", "RELEASES"), rows)
    exit_if_stale(fresh)


COMMAND = list_packages
