"""import: take in a bundle, or any other site."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cnrmirror.airgap.arrive import Imported, check_bundle
from cnrmirror.airgap.follow import follow
from cnrmirror.airgap.take import Terms, import_packages
from cnrmirror.bundle.places import reader_for
from cnrmirror.bundle.read import BundleReader
from cnrmirror.cli.changing import DRY_RUN
from cnrmirror.cli.context import Context, counted, now, pass_context, sized
from cnrmirror.cli.keyring import signing_project
from cnrmirror.cli.origin import Origin, exit_if_stale, origin_options, trust_for
from cnrmirror.model.errors import UsageError
from cnrmirror.objects.base import Reader


@click.command("import")
@click.argument("places", metavar="BUNDLE...", nargs=-1, required=True)
@DRY_RUN
@origin_options
@pass_context
def import_bundle(context: Context, places: tuple[str, ...], origin: Origin, dry_run: bool) -> None:
    """Import a bundle, or the site of another mirror.

    BUNDLE is its folders or volumes, in any order; or the address or folder of a site.

    Everything is checked before anything is imported: each volume, the signatures, their age, every
    file. A mirror with 'follow' in mirror.yaml becomes what the sender signed; any other one adds
    the packages to its own and signs the result (the first time, use --root root.json).

    \b
    cnrmirror import /media/usb1/bundle /media/usb2/bundle --expect receipt.txt
    """
    if origin.sources:
        raise UsageError("import reads what BUNDLE names: leave --from out")
    project = signing_project(context)
    reader = _reader(places)
    check_bundle(project, reader)
    clock = datetime.now(UTC)
    if project.config.follow:
        done = follow(project, reader, origin.policy, clock, dry_run)
    else:
        bundle = BundleReader.of(reader)
        sender = bundle.contents.registry if bundle else reader.name
        trust = trust_for(origin, f"registry://{sender}", reader)
        done = import_packages(project, reader, Terms(trust, origin.policy, clock, now(), dry_run))
    tell = context.result if dry_run else context.done
    tell(done, _lines(done, dry_run))
    if done.sync is not None and done.sync.exit_code:
        raise click.exceptions.Exit(done.sync.exit_code)
    exit_if_stale(done.fresh)


def _lines(done: Imported, dry_run: bool) -> list[str]:
    lines = [f"note\t{note}" for note in done.notes]
    if done.sync is not None:
        for source in done.sync.sources:
            lines += [f"hole\t{hole.what}\t{hole.reason}" for hole in source.holes]
            lines += [f"{a.kind}\t{a.package}@{a.release}\t{a.reason}"
                      for a in source.actions if a.kind in ("frozen", "drop")]  # fmt: skip
    sums = f"revision {done.revision}, catalog {done.catalog}: {counted(done.packages, 'package')}"
    if dry_run:
        return [*lines, f"{sums} would be imported"]
    archives = f"{counted(done.blobs, 'archive')} imported, {sized(done.bytes)}"
    return [*lines, f"{sums}; {archives}"]


def _reader(places: tuple[str, ...]) -> Reader:
    if len(places) == 1:
        return reader_for(places[0])
    if any("://" in place for place in places):
        raise UsageError("give one address, or the folders and volumes of one bundle")
    return BundleReader([Path(place) for place in places])


COMMAND = import_bundle
