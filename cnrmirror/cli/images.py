"""images: the container images that charts name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import click

from cnrmirror.cli import words
from cnrmirror.cli.context import Context, counted, pass_context, plain
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, read_verified
from cnrmirror.client.remote import PARALLEL, Remote
from cnrmirror.mirror.imageforms import FORMS
from cnrmirror.mirror.images import Asked, Listing, chosen, listing
from cnrmirror.model.documents import PackageDocument, Release
from cnrmirror.model.names import Reference
from cnrmirror.objects.parallel import in_parallel, threads

_COLUMNS = ("IMAGE", "TAG", "PACKAGE", "RELEASE", "FOUND IN")
_SURE, _GUESS = "sure", "guess"
_NAME = "cnrmirror-images"


@click.command()
@click.argument("references", metavar="[NS/NAME[@RELEASE|:CHANNEL]]...", nargs=-1,
                shell_complete=words.references)  # fmt: skip
@click.option(
    "--all", "every", is_flag=True, help="Images of every release, not only the default one."
)
@click.option(
    "--missing",
    is_flag=True,
    help="Only what makes the list uncertain: guessed tags, releases not inspected.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    help="Print each image once, in the form that this tool reads.",
)
@origin_options
@pass_context
def images(
    context: Context,
    references: tuple[str, ...],
    every: bool,
    missing: bool,
    form: str | None,
    origin: Origin,
) -> None:
    """List the container images that charts name, and where.

    Those of the default releases, or of the releases that are named.

    They are found in a chart's values, templates and annotations, also where they are switched
    off. A tag that no chart spells (its appVersion, latest) is a guess. Reads this mirror,
    with what `images` in mirror.yaml adds and leaves out; or the one that --from names, verified.

    \b
    cnrmirror images charts/nginx
    cnrmirror images --missing
    cnrmirror images --format skopeo > images.yaml
    """  # fmt: skip
    wanted = [Reference.parse(text) for text in references]
    fresh = True
    if origin.sources:
        found, fresh = read_verified(origin, lambda remote: _elsewhere(remote, wanted, every))
    else:
        project = context.project()
        refs = () if wanted else project.catalog.packages(project.tree())
        documents = map(project.catalog.document, refs)
        asked = (
            Asked(document.package, releases, project.catalog.facts(document))
            for document, releases in _chosen(wanted, project.document, documents, every)
        )
        found = listing(asked, project.config.images)
    if missing:
        found = Listing(found.guesses, found.unknown)
    if form and not context.as_json:
        click.echo(FORMS[form](found.names, _NAME), nl=False)
    else:
        context.table(found, _COLUMNS, _rows(found))
    if not context.as_json:
        _tell(found, bool(origin.sources))
    exit_if_stale(fresh)


def _chosen(
    wanted: Sequence[Reference],
    get: Callable[[str], PackageDocument],
    documents: Iterable[PackageDocument],
    every: bool,
) -> Iterator[tuple[PackageDocument, list[Release]]]:
    """The releases that are asked for; ``documents`` are all, if nothing is named."""
    pairs = (
        ((get(str(ref.package)), ref) for ref in wanted)
        if wanted
        else ((document, None) for document in documents)
    )
    for document, reference in pairs:
        if releases := chosen(document, reference, every):
            yield document, releases


def _elsewhere(remote: Remote, wanted: Sequence[Reference], every: bool) -> Listing:
    def asked(some: tuple[PackageDocument, list[Release]]) -> Asked:
        document, releases = some
        return Asked(document.package, releases, remote.facts(document))

    with threads(PARALLEL) as executor:
        documents = () if wanted else remote.documents(executor)
        some = _chosen(wanted, remote.document, documents, every)
        return listing(in_parallel(asked, some, executor))


def _rows(found: Listing) -> list[tuple[object, ...]]:
    return [
        (row.image, _SURE if row.sure else _GUESS, row.package, row.release, row.why)
        for row in found.images
    ]


def _tell(found: Listing, is_elsewhere: bool) -> None:
    """What is not known, on standard error."""
    for release in found.unknown:
        click.echo(
            f"not known: the images of {plain(release.package)}@{plain(release.release)}", err=True
        )
    if found.unknown:
        who = "its publisher may run" if is_elsewhere else "run"
        click.echo(
            f"cnrmirror: {counted(len(found.unknown), 'release')} not inspected for images: "
            f"{who} 'cnrmirror build --facts'",
            err=True,
        )


COMMAND = images
