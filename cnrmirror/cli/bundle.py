"""export, have, import: mirrors carried where no network goes."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import segno

from cnrmirror.bundle import BundleFetcher, Cut, read_contents
from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import online_folder, signing_project
from cnrmirror.cli.trusted import Origin, exit_if_stale, fetcher_for, origin_options, trust_for
from cnrmirror.errors import UsageError
from cnrmirror.interfaces import Fetcher
from cnrmirror.keys import generate, read_key, write_key
from cnrmirror.names import check_channel, check_media_type
from cnrmirror.workflow import export as work
from cnrmirror.workflow.importing import check_bundle, follow, have, take_in

_SMALLEST = 100_000
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.command("export")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False))
@click.option("--since", metavar="REV|RECEIPT|HAVE-FILE",
              help="Only what comes after what the receiver has.")  # fmt: skip
@click.option("--volume-size", metavar="4G", help="No volume is larger: bytes, or K, M, G, T.")
@click.option("--package", "packages", metavar="GLOB", multiple=True,
              help="Only these packages (ns/name, ns/*); repeatable.")  # fmt: skip
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not these packages; repeatable.")
@click.option("-t", "--media-type", "types", metavar="T", multiple=True, help="Only this format.")
@click.option("--channel", "channels", metavar="C", multiple=True,
              help="Only what this channel points at.")  # fmt: skip
@click.option("--releases", metavar="RANGE", default="", help="Only releases in this semver range.")
@click.option("--again", metavar="BUNDLE.JSON",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Cut as this bundle was cut, the same bytes again.")  # fmt: skip
@click.option("--volume", "only", type=click.IntRange(1), help="With --again: only this volume.")
@click.option("--dry-run", is_flag=True, help="Only say how large it would be.")
@pass_context
def export_bundle(
    context: Context,
    out: Path,
    since: str | None,
    volume_size: str | None,
    packages: tuple[str, ...],
    exclude: tuple[str, ...],
    types: tuple[str, ...],
    channels: tuple[str, ...],
    releases: str,
    again: Path | None,
    only: int | None,
    dry_run: bool,
) -> None:
    """Write a bundle into the folder OUT: all of the mirror, or what a receiver lacks.

    Prints a receipt: carry it another way than the bundle, the receiver says it with --expect.

    \b
    cnrmirror export /media/usb/bundle --volume-size 4G
    cnrmirror export /media/usb/bundle --since their-have.json
    cnrmirror export again --again bundle.json --volume 2
    """
    project = signing_project(context)
    if only is not None and again is None:
        raise UsageError("--volume goes with --again: it makes a volume of a bundle again")
    if again is not None:
        if since or volume_size or packages or exclude or types or channels or releases:
            raise UsageError("--again says it all: no other options, please")
        job = work.plan_again(project, read_contents(again))
    else:
        edition = project.metadata.edition()
        cut = Cut(
            edition.at.digest,
            work.since_digest(project, since) if since else "",
            _bytes(volume_size),
            list(packages),
            list(exclude),
            [check_media_type(name) for name in types],
            [check_channel(name) for name in channels],
            releases,
        )
        job = work.plan(project, cut, edition)
    if dry_run:
        lines = [f"{v.name}\t{v.size}\t{v.files} files" for v in job.contents.volumes]
        lines.append(f"{len(job.volumes)} volumes, {job.bytes} bytes")
        context.result({"bytes": job.bytes, "contents": job.contents}, lines)
        return
    contents = work.write(project, out, job, only)
    lines = [f"{v.name}\t{v.size}\t{v.digest}" for v in contents.volumes]
    context.result(contents, [*lines, contents.receipt])
    if not context.as_json and sys.stdout.isatty():
        segno.make(contents.receipt, micro=False).terminal(compact=True)


def _bytes(text: str | None) -> int:
    if text is None:
        return 0
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if not (number.isascii() and number.isdecimal()) or unit not in ("", *_UNITS):
        raise UsageError(f"--volume-size {text}: write a number of bytes, or 700M, 4G")
    size = int(number) * _UNITS.get(unit, 1)
    if size < _SMALLEST:
        raise UsageError(f"--volume-size {text}: at least {_SMALLEST} bytes")
    return size


@click.command("have")
@click.option("--registry", metavar="ID", help="Of this sender, if there are several.")
@pass_context
def have_statement(context: Context, registry: str | None) -> None:
    """Print what this mirror holds of its sender, signed, for 'export --since'.

    \b
    cnrmirror have > have.json
    """
    project = context.project()
    statement = have(project, now(), registry)
    folder = online_folder(project.config.id)
    found = sorted(folder.glob("receiver-*.pem"))
    if found:
        signer = read_key(found[0], None)
    else:
        signer = generate()
        write_key(folder, "receiver", signer, None)
    click.echo(work.write_have(statement, signer), nl=False)


@click.command("import")
@click.argument("places", metavar="BUNDLE...", nargs=-1, required=True)
@origin_options
@pass_context
def import_bundle(context: Context, places: tuple[str, ...], origin: Origin) -> None:
    """Take in a bundle (its folders or volumes, in any order), or any other site.

    Everything is checked before anything is taken in: each volume, the signatures, their age, every
    file. A mirror with 'follow' in mirror.yaml becomes what the sender signed; any other one takes
    the packages in beside its own and signs the result (the first time say --root root.json).

    \b
    cnrmirror import /media/usb1/bundle /media/usb2/bundle --expect receipt.txt
    """
    if origin.sources:
        raise UsageError("what is taken in is the argument: leave --from out")
    project = signing_project(context)
    fetcher = _fetcher(places)
    if isinstance(fetcher, BundleFetcher):
        check_bundle(project, fetcher)
    clock = datetime.now(UTC)
    if project.config.follow:
        done = follow(project, fetcher, origin.policy, clock)
    else:
        name = fetcher.contents.registry if isinstance(fetcher, BundleFetcher) else fetcher.name
        trust = trust_for(origin, f"registry://{name}", fetcher)
        done = take_in(project, fetcher, trust, origin.policy, clock, now())
    lines = [f"note\t{note}" for note in done.notes]
    if done.sync is not None:
        for source in done.sync.sources:
            lines += [f"hole\t{hole.what}\t{hole.reason}" for hole in source.holes]
            lines += [f"{a.kind}\t{a.package}@{a.release}\t{a.reason}"
                      for a in source.actions if a.kind in ("frozen", "drop")]  # fmt: skip
    lines.append(
        f"revision {done.revision}, catalog {done.catalog}: {done.packages} packages; "
        f"{done.blobs} archives taken in, {done.bytes} bytes"
    )
    context.result(done, lines)
    if done.sync is not None and done.sync.exit_code:
        raise click.exceptions.Exit(done.sync.exit_code)
    exit_if_stale(done.fresh)


def _fetcher(places: tuple[str, ...]) -> Fetcher:
    if len(places) == 1:
        return fetcher_for(places[0])
    if any("://" in place for place in places):
        raise UsageError("one address, or the folders and volumes of one bundle")
    return BundleFetcher([Path(place) for place in places])


COMMANDS = [export_bundle, have_statement, import_bundle]
