"""Other processes for a command: on this machine, or those of a cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cnrmirror.cli.context import Context
from cnrmirror.mirror.home import KEYS_FD_VARIABLE, KEYS_VARIABLE
from cnrmirror.mirror.places import check_place
from cnrmirror.model.errors import UsageError
from cnrmirror.model.later import later
from cnrmirror.objects.scheme import FOLDER

if TYPE_CHECKING:
    from cnrmirror.audit import scout
    from cnrmirror.crew import cluster, processes
    from cnrmirror.crew import crew as crews
    from cnrmirror.mirror import project as projects
else:
    cluster = later("cnrmirror.crew.cluster")
    crews = later("cnrmirror.crew.crew")
    processes = later("cnrmirror.crew.processes")
    projects = later("cnrmirror.mirror.project")
    scout = later("cnrmirror.audit.scout")

WORKERS = click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N",
    help="Fetch with N processes; 'parallel' and 'rate' hold for all of them together.",
)  # fmt: skip
CLUSTER = click.option(
    "--cluster", "address", metavar="tls://HOST:PORT",
    help="Fetch on the workers of this Dask scheduler; the mirror must be in a bucket (store).",
)  # fmt: skip
CERTIFICATES = click.option(
    "--certificates", metavar="FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --cluster: ca.pem, coordinator.pem and coordinator-key.pem.",
)  # fmt: skip
ONLY_FETCH = click.option(
    "--only-fetch", is_flag=True,
    help="Bring the archives, and leave the rest to the next sync: this needs no keys.",
)  # fmt: skip


class Wish(msgspec.Struct, frozen=True):
    """Which other processes are wished for."""

    workers: int | None
    address: str | None
    certificates: Path | None

    def check(self) -> None:
        """Raises UsageError if it is not one wish."""
        if self.workers and self.address:
            raise UsageError("--workers are processes of this machine: use it without --cluster")
        if bool(self.address) != bool(self.certificates):
            raise UsageError("--cluster and --certificates go together")

    def check_for(self, project: projects.Project) -> None:
        """Raises UsageError if workers elsewhere cannot write into the mirror."""
        at = project.config.store
        if self.address and (at is None or check_place(at) is FOLDER):
            raise UsageError(
                "--cluster: the workers have other disks, so the mirror must be in a bucket: see "
                "'store' in 'cnrmirror help scale'; on this machine, use --workers"
            )

    @contextlib.contextmanager
    def crew(self, project: projects.Project) -> Iterator[crews.Crew | None]:
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


def fetch_apart(
    context: Context, project: projects.Project, wish: Wish, words: Sequence[str]
) -> int:
    """Fetch with a cluster in another process, which is given no keys; its exit code.

    What a worker sends could be an attack on whoever reads it: that must not be who signs.
    """
    options = ["--json"] * context.as_json + ["-q"] * context.quiet
    command = [
        sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *options, "sync", *words,
        "--only-fetch", "--cluster", str(wish.address), "--certificates", str(wish.certificates),
    ]  # fmt: skip
    secret = (KEYS_VARIABLE, KEYS_FD_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in secret}
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    return done.returncode


@contextlib.contextmanager
def scouting(workers: int, source: str) -> Iterator[scout.Scouts | None]:
    """So many processes that look at packages of a mirror; None for none."""
    if not workers:
        yield None
        return
    with processes.processes(workers) as pool:
        yield scout.Scouts(pool, str(Path(source).resolve()) if Path(source).exists() else source)
