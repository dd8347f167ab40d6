"""Speed of building and pushing, beside ``helm repo index`` on the same archives.

``python -m bench.build [--charts N] [--helm PATH] [--folder DIR] [--pushes]``. Prints medians of
repeated runs, ratios to the peer in the same run, and the physical limit: gunzip and sha256 of the
corpus on one core, and the bare cost of an equal tree (folders, sizes, links) in one process.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import random
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from isal import isal_zlib

from bench.peers import peer
from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from tests.mirrors import make, reopen

NOW = "2026-01-02T03:04:05"


def corpus(folder: Path, count: int) -> None:
    """``count`` synthetic charts of the size of real ones, ten releases a package.

    Measured means of a thousand real charts: 11 KB gzipped, 65 KB unpacked, some twenty files.
    """
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(600)]
    templates = [_template(dice, words, lines) for lines in range(20, 120)]
    values = [_values(dice, words, lines) for lines in range(60, 260, 4)]
    folder.mkdir(parents=True)
    for number in range(count):
        name, release = f"chart-{number // 10:05}", f"1.{number % 10}.0"
        chart = (
            f"apiVersion: v1\nname: {name}\nversion: {release}\nappVersion: '{release}'\n"
            f"description: {' '.join(dice.choices(words, k=12))}\nhome: https://example.com/{name}\n"
            f"keywords: [{', '.join(dice.choices(words, k=4))}]\n"
            "maintainers:\n- name: somebody\n  email: somebody@example.com\n"
        )
        files = {
            "Chart.yaml": chart.encode(),
            "values.yaml": dice.choice(values),
            "README.md": dice.choice(values),
            **{f"templates/{n}.yaml": dice.choice(templates) for n in range(16)},
        }
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, data in files.items():
                member = tarfile.TarInfo(f"{name}/{path}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        (folder / f"{name}-{release}.tgz").write_bytes(gzip.compress(buffer.getvalue(), 6, mtime=0))


def _template(dice: random.Random, words: list[str], lines: int) -> bytes:
    few = dice.choices(words, k=12)
    text = (f"{'  ' * dice.randint(0, 5)}{dice.choice(few)}: {{{{ .Values.{dice.choice(few)} }}}}"
            for _ in range(lines))  # fmt: skip
    return "\n".join(text).encode() + b"\n"


def _values(dice: random.Random, words: list[str], lines: int) -> bytes:
    text = (f"{dice.choice(words)}{n}:\n  {dice.choice(words)}: {dice.choice(words)}"
            for n in range(lines // 2))  # fmt: skip
    return "\n".join(text).encode() + b"\n"


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def limit(charts: Path) -> None:
    """Gunzip and both digests of every archive, one core."""
    hashed(charts.iterdir())


def hashed(archives: Iterable[Path]) -> None:
    """Gunzip and both digests of some archives."""
    for path in archives:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        hashlib.sha256(isal_zlib.decompress(data, 31)).hexdigest()


def bare(folder: Path, site: Path) -> Callable[[], None]:
    """Makes a tree like ``site``, and nothing else: same folders, sizes, links; one process."""
    steps: list[tuple[str, str | int | None]] = []
    inodes: dict[int, str] = {}
    for parent, folders, files in os.walk(site):
        here = str(folder / os.path.relpath(parent, site))
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]
        steps.append((here, None))
        for name in (*files, *links):
            status = os.lstat(f"{parent}/{name}")
            if status.st_ino in inodes:
                steps.append((f"{here}/{name}", inodes[status.st_ino]))
            elif name in links or os.path.islink(f"{parent}/{name}"):
                steps.append((f"{here}/{name}", "@" + os.readlink(f"{parent}/{name}")))
            else:
                inodes[status.st_ino] = f"{here}/{name}"
                steps.append((f"{here}/{name}", status.st_size))

    def make() -> None:
        for path, what in steps:
            if what is None:
                os.makedirs(path, exist_ok=True)
            elif isinstance(what, int):
                descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
                os.write(descriptor, bytes(what))
                os.close(descriptor)
            elif what.startswith("@"):
                os.symlink(what[1:], path)
            else:
                os.link(what, path)

    return make


def cnrmirror(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "cnrmirror", *arguments], check=True, stdout=subprocess.DEVNULL
    )


def full_build(work: Path, count: int, helm: str | None, runs: int) -> None:
    charts = work / "charts"
    corpus(charts, count)
    ours, theirs, floor, creation = [], [], [], []
    files = 0
    for run in range(runs):
        mirror = work / f"mirror{run}"
        make(mirror, "bench")
        ours.append(timed(lambda m=mirror: cnrmirror(  # type: ignore[misc]
            "-C", str(m), "push", "--namespace", "bench", str(charts))))  # fmt: skip
        files = sum(len(f) + len(d) for _, d, f in os.walk(mirror / "site"))
        creation.append(timed(bare(work / f"bare{run}", mirror / "site")))
        floor.append(timed(lambda: limit(charts)))
        if helm:
            theirs.append(timed(lambda: subprocess.run(
                [helm, "repo", "index", str(charts)], check=True)))  # fmt: skip
            (charts / "index.yaml").unlink()
    median = statistics.median
    print(f"{count} charts, {files} files and folders, medians of {runs} runs on {work}")
    print(f"  archives to served site   {median(ours):8.2f} s")
    print(f"  gunzip + sha256, one core {median(floor):8.2f} s")
    print(f"  an equal tree, bare       {median(creation):8.2f} s")
    if helm:
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        print(f"  helm repo index           {median(theirs):8.2f} s   ours/helm {ratio:.2f}")


def one_push(work: Path, count: int, runs: int) -> None:
    """One release pushed into a mirror of ``count``."""
    charts, extra = work / f"many{count}", work / f"extra{count}"
    corpus(charts, count)
    corpus(extra, 10)
    project: Project = make(work / f"into{count}", "bench")
    push(project, [charts], Override(namespace="bench"), NOW)
    times, written = [], 0
    for run, path in zip(range(runs), sorted(extra.iterdir()), strict=False):
        before = {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*")}
        wish = Override(package="bench/chart-00007", release=f"9.{run}.0")
        times.append(timed(lambda w=wish, p=path: push(  # type: ignore[misc]
            reopen(project.folder), [p], w, NOW)))  # fmt: skip
        changed = [p for p in project.site.rglob("*")
                   if before.get(p) != os.lstat(p).st_mtime_ns and not p.is_dir()]  # fmt: skip
        written = len(changed)
        size = sum(os.lstat(p).st_size for p in changed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"  one push into {count:6} releases {statistics.median(times):7.3f} s, "
        f"{written} files, {size / 1e6:.2f} MB, peak {peak} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--helm", default="")
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    parser.add_argument("--pushes", type=int, nargs="*", default=[1000, 10_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        full_build(Path(work), options.charts, options.helm or peer("helm"), options.runs)
        for count in options.pushes:
            one_push(Path(work), count, options.runs)


if __name__ == "__main__":
    main()
