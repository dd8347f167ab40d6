"""Other processes for a command: on this machine, or those of a cluster."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
import msgspec

from cnrmirror.cli.context import Context
from cnrmirror.mirror.home import KEYS_FD_VARIABLE, KEYS_VARIABLE
from cnrmirror.mirror.places import check_place
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.errors import UsageError
from cnrmirror.model.later import later
from cnrmirror.objects.scheme import FOLDER, scheme_of

if TYPE_CHECKING:
    from cnrmirror.audit import scout
    from cnrmirror.crew import cluster
    from cnrmirror.crew import crew as crews
    from cnrmirror.mirror import project as projects
else:
    cluster = later("cnrmirror.crew.cluster")
    crews = later("cnrmirror.crew.crew")
    projects = later("cnrmirror.mirror.project")
    scout = later("cnrmirror.audit.scout")

Command = TypeVar("Command", bound=Callable[..., Any])
SECRET = (KEYS_VARIABLE, KEYS_FD_VARIABLE)
ONLY_FETCH = click.option(
    "--only-fetch", is_flag=True,
    help="Bring the archives, and leave the rest to the next sync: this needs no keys.",
)  # fmt: skip


class Wish(msgspec.Struct, frozen=True):
    """Which other processes are wished for."""

    workers: int | None = None
    address: str | None = None
    certificates: Path | None = None

    def check(self) -> None:
        """Raises UsageError if it is not one wish."""
        if self.workers and self.address:
            raise UsageError("--workers are processes of this machine: use it without --cluster")
        if bool(self.address) != bool(self.certificates):
            raise UsageError("--cluster and --certificates go together")

    def check_for(self, project: projects.Project) -> None:
        """Raises UsageError if workers elsewhere have no way to the mirror."""
        at = project.config.store
        if self.address and (at is None or check_place(at) is FOLDER):
            raise UsageError(
                "--cluster: the workers have other disks, so the mirror must be in a bucket: see "
                "'store' in 'cnrmirror help scale'; on this machine, use --workers"
            )

    def check_places(self, places: Sequence[str]) -> None:
        """Raises UsageError if workers elsewhere cannot read one of them."""
        on_disk = [place for place in places if not is_address(place)]
        if self.address and on_disk:
            raise UsageError(
                f"--cluster: the workers have other disks, and {on_disk[0]} is on this machine's: "
                "give an address (https://…, s3://…), or use --workers"
            )

    def check_to(self, project: projects.Project, targets: Sequence[PublishTo]) -> None:
        """Raises UsageError if workers elsewhere cannot send to these, or might meet keys."""
        if not self.address:
            return
        self.check_for(project)
        if on_disk := [each.to for each in targets if scheme_of(each.to) is FOLDER]:
            raise UsageError(
                f"--cluster: the workers have other disks, and {on_disk[0]} is on this machine's: "
                "publish to a bucket, or use --workers"
            )
        if found := [name for name in SECRET if os.environ.get(name)]:
            raise UsageError(
                f"--cluster: a publish reads what workers say, and needs no keys: take {found[0]} "
                f"out of its environment (env -u {found[0]} cnrmirror publish …)"
            )

    @contextlib.contextmanager
    def crew(self) -> Iterator[crews.Crew | None]:
        """The processes; None if none are wished for.

        Raises:
            UsageError, InputError, NetworkError: see ``cluster.cluster``.
        """
        if self.address and self.certificates:
            with cluster.cluster(self.address, self.certificates) as crew:
                yield crew
        elif self.workers:
            crew = crews.local(self.workers)
            try:
                yield crew
            finally:
                crew.close()
        else:
            yield None


def is_address(place: str) -> bool:
    """Whether other machines can read a place, too. Raises InputError for what is none."""
    if place.startswith(("https://", "http://")):
        return True
    return scheme_of(place, ("https://…",)) is not FOLDER


def crew_options(
    verb: str, with_workers: str = "", with_cluster: str = ""
) -> Callable[[Command], Command]:
    """--workers, --cluster and --certificates, gathered into one argument ``wish``.

    Args:
        verb: what the processes do, as the help says it.
        with_workers, with_cluster: what else is to be known of each.

    Raises:
        UsageError: by the command: it is not one wish.
    """
    options = [
        click.option(
            "--workers", type=click.IntRange(1, 256), metavar="N",
            help=_sentence(f"{verb} with N processes", with_workers),
        ),
        click.option(
            "--cluster", "address", metavar="tls://HOST:PORT",
            help=_sentence(f"{verb} on the workers of this Dask scheduler", with_cluster),
        ),
        click.option(
            "--certificates", metavar="FOLDER",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="With --cluster: ca.pem, coordinator.pem and coordinator-key.pem.",
        ),
    ]  # fmt: skip

    def decorated(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(
            *arguments: Any, workers: int | None, address: str | None, certificates: Path | None,
            **others: Any,
        ) -> Any:  # fmt: skip
            wish = Wish(workers, address, certificates)
            wish.check()
            return command(*arguments, wish=wish, **others)

        found: Any = gathered
        for option in reversed(options):
            found = option(found)
        return cast(Command, found)

    return decorated


def _sentence(text: str, more: str) -> str:
    return f"{text}; {more}." if more else f"{text}."


def fetch_apart(
    context: Context, project: projects.Project, wish: Wish, words: Sequence[str]
) -> int:
    """Fetch with a cluster in another process, which is given no keys; its exit code.

    What a worker sends could be an attack on whoever reads it: that must not be who signs.
    """
    return _apart(context, project, wish, ["sync", *words, "--only-fetch"], subprocess.DEVNULL)


def check_apart(
    context: Context, project: projects.Project, wish: Wish, words: Sequence[str]
) -> int | None:
    """Check with a cluster in another process, which is given no keys; its exit code.

    None if this process's environment has none, either: then it may do so itself.
    """
    if not any(name in os.environ for name in SECRET):
        return None
    return _apart(context, project, wish, ["check", *words], None)


def _apart(
    context: Context, project: projects.Project, wish: Wish, words: Sequence[str], out: int | None
) -> int:
    options = ["--json"] * context.as_json + ["-q"] * context.quiet
    command = [
        sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *options, *words,
        "--cluster", str(wish.address), "--certificates", str(wish.certificates),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in SECRET}
    return subprocess.run(command, env=environment, stdout=out, check=False).returncode


def scouts_for(crew: crews.Crew | None, source: str) -> scout.Scouts | None:
    """The processes, as they look at packages of this mirror; None for none."""
    if crew is None:
        return None
    return scout.Scouts(crew, source if is_address(source) else str(Path(source).resolve()))
