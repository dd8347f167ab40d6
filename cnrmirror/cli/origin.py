"""The options of every command that reads somebody else's mirror, and what they mean."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from cnrmirror.cli.context import duration, plain
from cnrmirror.model.errors import STALE_ACCEPTED, NotTrusted, UsageError
from cnrmirror.model.later import later
from cnrmirror.model.receipt import expected_catalog
from cnrmirror.model.signed import MAX_BYTES, METADATA
from cnrmirror.model.xdg import own_folder
from cnrmirror.objects.base import Reader, read

if TYPE_CHECKING:
    from cnrmirror.bundle import places
    from cnrmirror.client import remote as remotes
    from cnrmirror.trust import verify
else:
    places = later("cnrmirror.bundle.places")
    remotes = later("cnrmirror.client.remote")
    verify = later("cnrmirror.trust.verify")


T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Origin(msgspec.Struct, frozen=True):
    """Where to read from, and what to trust: the values of the options."""

    sources: tuple[str, ...]
    root: Path | None
    first_use: bool
    at: datetime | None
    allow_expired: timedelta
    expect: str | None

    @property
    def policy(self) -> verify.Policy:
        return verify.Policy(self.at, self.allow_expired, self.expect)


def origin_options(command: F) -> F:
    """--from, --root and the rest, gathered into one argument ``origin``."""
    options = [
        click.option(
            "--from", "sources", metavar="URL|DIR|s3://…", multiple=True,
            help="A mirror to read; repeatable: the first good one is used (check: every one).",
        ),
        click.option(
            "--root", type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="The root file to trust; remembered for this mirror from then on.",
        ),
        click.option(
            "--trust-on-first-use", "first_use", is_flag=True,
            help="Trust the root that the mirror itself offers, if none is known. Unsafe.",
        ),
        click.option("--at", metavar="TIME", help="Verify as of this time (ISO 8601, UTC)."),
        click.option("--allow-expired", metavar="90d",
                     help="Accept metadata that expired up to this long ago."),
        click.option("--expect", metavar="RECEIPT",
                     help="What the mirror must match: a receipt, a file with one, or a "
                     "catalog's digest."),
    ]  # fmt: skip

    def gathered(
        *arguments: Any,
        sources: tuple[str, ...],
        root: Path | None,
        first_use: bool,
        at: str | None,
        allow_expired: str | None,
        expect: str | None,
        **others: Any,
    ) -> Any:
        late = duration("--allow-expired", allow_expired) if allow_expired else timedelta(0)
        origin = Origin(
            sources, root, first_use, _time(at), late,
            expected_catalog(expect) if expect else None,
        )  # fmt: skip
        return command(*arguments, origin=origin, **others)

    gathered.__name__ = command.__name__
    gathered.__doc__ = command.__doc__
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(options):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text}: not a time such as 2026-01-31T12:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def trust_for(origin: Origin, source: str, reader: Reader) -> verify.Trust:
    """What is trusted of one source: --root, or what was pinned for it before.

    Raises:
        NotTrusted: nothing is known of it.
    """
    state = own_folder("STATE")
    # One place has one name, however it is written.
    place = source.rstrip("/") if "://" in source else str(Path(source).resolve())
    pin = state / "roots" / f"{hashlib.sha256(place.encode()).hexdigest()}.json"
    if origin.root is not None:
        with origin.root.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    elif pin.exists():
        data = pin.read_bytes()
    elif origin.first_use:
        data = read(reader.fetch(f"{METADATA}/1.root.json", MAX_BYTES))
        click.echo(
            f"cnrmirror: TRUST ON FIRST USE: nobody vouches for {reader.name}.\n"
            "From now on its root is\n"
            f"  sha256 {hashlib.sha256(data).hexdigest()}\n"
            "compare this with what the publisher says; if it differs, do not trust this mirror",
            err=True,
        )
    else:
        raise NotTrusted(
            f"{reader.name}: no root is known for this mirror; get its root.json from its "
            "publisher and use --root root.json (or, unsafe, --trust-on-first-use)"
        )
    verify.parse_pinned(data, str(origin.root or pin))
    trust = verify.Trust(data, own_folder("CACHE") / "tuf", state / "marks")
    trust.remember_as(pin)
    return trust


def read_verified(origin: Origin, use: Callable[[remotes.Remote], T]) -> tuple[T, bool]:
    """What ``use`` gives for the first good source, and whether its metadata is fresh."""
    if not origin.sources:
        raise UsageError("no mirror to read is named: use --from URL or --from DIR")
    fresh = True

    def warn(text: str) -> None:
        click.echo(f"cnrmirror: {plain(text)}", err=True)

    def noted(remote: remotes.Remote) -> T:
        nonlocal fresh
        fresh = remote.verified.fresh
        return use(remote)

    opened: list[Reader] = []

    def connect(source: str) -> tuple[Reader, verify.Trust]:
        reader = places.reader_for(source)
        opened.append(reader)
        return reader, trust_for(origin, source, reader)

    attempts = [functools.partial(connect, source) for source in origin.sources]
    try:
        return remotes.first_good(attempts, origin.policy, datetime.now(UTC), noted, warn), fresh
    finally:
        for reader in opened:
            reader.close()


def exit_if_stale(fresh: bool) -> None:
    """End with the exit code for "done, with expired metadata that was allowed"."""
    if not fresh:
        raise click.exceptions.Exit(STALE_ACCEPTED)
