"""Speed of building and pushing, beside ``helm repo index`` on the same archives.

``python -m bench.build [--charts N] [--helm PATH] [--folder DIR] [--pushes]``. Prints medians of
repeated runs, ratios to the peer in the same run, and the physical limit: gunzip and sha256 of the
corpus on one core, and the bare cost of creating as many files.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from isal import isal_zlib

from cnrmirror.sources.charts import Wish
from cnrmirror.workflow.project import Project, create
from cnrmirror.workflow.push import push

NOW = "2026-01-02T03:04:05"


def corpus(folder: Path, count: int) -> None:
    """``count`` synthetic charts of about 17 KB, ten releases a package."""
    dice = random.Random(1)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(3000)]
    texts = [b" ".join(dice.choices(words, k=dice.randint(40, 800))) for _ in range(400)]
    folder.mkdir(parents=True)
    for number in range(count):
        name, release = f"chart-{number // 10:05}", f"1.{number % 10}.0"
        files = {
            "Chart.yaml": f"apiVersion: v1\nname: {name}\nversion: {release}\n".encode(),
            "values.yaml": b"# " + dice.choice(texts) + b"\nreplicas: 1\n",
            **{f"templates/{n}.yaml": b"# " + dice.choice(texts) for n in range(8)},
        }
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, data in files.items():
                member = tarfile.TarInfo(f"{name}/{path}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        (folder / f"{name}-{release}.tgz").write_bytes(gzip.compress(buffer.getvalue(), 6, mtime=0))


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def limit(charts: Path) -> None:
    """Gunzip and both digests of every archive, one core."""
    for path in charts.iterdir():
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        hashlib.sha256(isal_zlib.decompress(data, 31)).hexdigest()


def bare(folder: Path, files: int) -> None:
    """Create as many empty files, a hundred a folder."""
    for number in range(files):
        if number % 100 == 0:
            (folder / str(number // 100)).mkdir(parents=True)
        os.close(os.open(folder / str(number // 100) / str(number), os.O_CREAT | os.O_WRONLY))


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
        create(mirror, "bench")
        ours.append(timed(lambda m=mirror: cnrmirror(  # type: ignore[misc]
            "-C", str(m), "push", "--namespace", "bench", str(charts))))  # fmt: skip
        files = sum(len(f) + len(d) for _, d, f in os.walk(mirror / "site"))
        creation.append(timed(lambda r=run: bare(work / f"bare{r}", files)))  # type: ignore[misc]
        floor.append(timed(lambda: limit(charts)))
        if helm:
            theirs.append(timed(lambda: subprocess.run(
                [helm, "repo", "index", str(charts)], check=True)))  # fmt: skip
            (charts / "index.yaml").unlink()
    median = statistics.median
    print(f"{count} charts, {files} files and folders, medians of {runs} runs on {work}")
    print(f"  archives to served site   {median(ours):8.2f} s")
    print(f"  gunzip + sha256, one core {median(floor):8.2f} s")
    print(f"  creating the files, bare  {median(creation):8.2f} s")
    if helm:
        ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
        print(f"  helm repo index           {median(theirs):8.2f} s   ours/helm {ratio:.2f}")


def one_push(work: Path, count: int, runs: int) -> None:
    """One release pushed into a mirror of ``count``."""
    charts, extra = work / f"many{count}", work / f"extra{count}"
    corpus(charts, count)
    corpus(extra, 10)
    project: Project = create(work / f"into{count}", "bench")
    push(project, [charts], Wish(namespace="bench"), NOW)
    times, written = [], 0
    for run, path in zip(range(runs), sorted(extra.iterdir()), strict=False):
        before = {p: os.lstat(p).st_mtime_ns for p in project.site.rglob("*")}
        wish = Wish(package="bench/chart-00007", release=f"9.{run}.0")
        times.append(timed(lambda w=wish, p=path: push(  # type: ignore[misc]
            Project(project.folder), [p], w, NOW)))  # fmt: skip
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
    parser.add_argument("--helm", default=shutil.which("helm"))
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    parser.add_argument("--pushes", type=int, nargs="*", default=[1000, 10_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        full_build(Path(work), options.charts, options.helm, options.runs)
        for count in options.pushes:
            one_push(Path(work), count, options.runs)


if __name__ == "__main__":
    main()
