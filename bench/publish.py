"""Publishing beside ``s5cmd`` and ``aws s3``: the first time, nothing new, one release.

``python -m bench.publish [--releases 1000] [--large 6000] [--runs 3] [--peers s5cmd,aws]``.

The server keeps objects in memory and looks at no signature (``bench.sink``), or is SeaweedFS with
``--real``. The peers send an equal set of files (sizes and number) under neutral keys: a tree of
files cannot hold our keys. Prints medians; CPU is that of the client alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.build import corpus
from bench.peers import peer
from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.session import Session
from tests.conftest import chart_bytes
from tests.interop.bucket import ACCESS, BUCKET, SECRET, s3_server
from tests.interop.ports import free_port, wait_for
from tests.mirrors import make


class Cost:
    """What one command took."""

    def __init__(self, seconds: float, cpu: float, requests: dict[str, int]) -> None:
        self.seconds, self.cpu, self.requests = seconds, cpu, requests


class Bench:
    """An endpoint, and commands that are measured against it."""

    def __init__(self, url: str, counts: bool) -> None:
        self._url = url
        self._counts = counts
        self.environment = {
            **os.environ, "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
            "S3_ENDPOINT_URL": url,
        }  # fmt: skip

    def run(self, *command: str) -> Cost:
        self._requests()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(seconds, cpu, self._requests())

    def publish(self, project: Project, prefix: str) -> Cost:
        return self.run(
            sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "publish",
            f"s3://{BUCKET}/{prefix}",
        )  # fmt: skip

    def _requests(self) -> dict[str, int]:
        if not self._counts:
            return {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._url}/_count", timeout=20) as answer:
            found: dict[str, int] = json.loads(answer.read())
            return found


@contextlib.contextmanager
def sink() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.sink", str(port)])
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def mirror(folder: Path, releases: int) -> Project:
    project = make(folder / "mirror", "bench", _now())
    corpus(folder / "charts", releases)
    paths = sorted((folder / "charts").iterdir())
    push(project, paths, Override(namespace="ns"), _now(), What(["stable"]))
    shutil.rmtree(folder / "charts")
    return project


def add(project: Project, release: str) -> None:
    path = project.folder.parent / f"chart-00001-{release}.tgz"
    path.write_bytes(chart_bytes("chart-00001", release))
    push(project, [path], Override(namespace="ns"), _now(), What(["stable"]))


def neutral(project: Project, folder: Path) -> int:
    """As many files of the same sizes as a first publish puts objects."""
    with Session.open(project, find_destinations(project, ["s3://bench-plan/x"])[0]) as session:
        destination = session.destination
        destination.read = lambda key, max_bytes: None  # type: ignore[method-assign]
        sizes = [o.size for o in session.plan(_now()).operations]
    noise = os.urandom(1 << 20)
    for number, size in enumerate(sizes):
        path = folder / f"{number // 1000:04}"
        path.mkdir(parents=True, exist_ok=True)
        start = number * 7919 % (1 << 19)
        (path / f"{number}.bin").write_bytes(
            (noise * (1 + size // (1 << 19)))[start : start + size]
        )
    return len(sizes)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def _say(name: str, costs: list[Cost], objects: int, base: float | None) -> float:
    seconds = statistics.median(c.seconds for c in costs)
    cpu = statistics.median(c.cpu for c in costs)
    requests = sum(v for k, v in costs[-1].requests.items() if k != "LIST")
    each = f"{objects / seconds:8.0f} objects/s {cpu / objects * 1e6:6.0f} µs CPU each" * (
        objects > 1
    )
    ratio = f"  ratio of time {seconds / base:.2f}" if base else ""
    lists = costs[-1].requests.get("LIST", 0)
    print(f"  {name:22} {seconds:7.2f} s {cpu:6.2f} s CPU {each} {requests:7} requests, "
          f"{lists} LIST{ratio}", flush=True)  # fmt: skip
    return seconds


def first(bench: Bench, work: Path, releases: int, runs: int, peers: dict[str, str]) -> None:
    project = mirror(work / "first", releases)
    count = neutral(project, work / "first" / "files")
    print(f"first upload of {count} objects", flush=True)
    costs: dict[str, list[Cost]] = {}
    files = str(work / "first" / "files")
    for number in range(runs):
        shutil.rmtree(project.folder / ".state/memory/destinations", ignore_errors=True)
        found = {"cnrmirror publish": bench.publish(project, f"first{number}")}
        if "s5cmd" in peers:
            found["s5cmd cp"] = bench.run(
                peers["s5cmd"], "--log", "error", "cp", f"{files}/", f"s3://{BUCKET}/s{number}/"
            )
        if "aws" in peers and number == 0:
            found["aws s3 sync"] = bench.run(
                peers["aws"], "s3", "sync", "--only-show-errors", files, f"s3://{BUCKET}/a/"
            )
        for name, cost in found.items():
            costs.setdefault(name, []).append(cost)
    base = None
    for name, each in costs.items():
        seconds = _say(name, each, count, base)
        base = base or seconds


def later(bench: Bench, work: Path, releases: int, runs: int, peers: dict[str, str]) -> None:
    project = mirror(work / "large", releases)
    count = neutral(project, work / "large" / "files")
    files = work / "large" / "files"
    bench.publish(project, "large")
    if "s5cmd" in peers:
        bench.run(peers["s5cmd"], "--log", "error", "cp", f"{files}/", f"s3://{BUCKET}/l/")
    for what in ("nothing new", "one release more"):
        print(f"{what}, {count} objects there", flush=True)
        costs: dict[str, list[Cost]] = {}
        for number in range(runs):
            if what != "nothing new":
                add(project, f"9.{number}.0")
                (files / "0000/0.bin").write_bytes(os.urandom(4000 + number))
            costs.setdefault("cnrmirror publish", []).append(bench.publish(project, "large"))
            source, target = f"{files}/", f"s3://{BUCKET}/l/"
            if "s5cmd" in peers and number == 0:
                costs["s5cmd sync"] = [
                    bench.run(peers["s5cmd"], "--log", "error", "sync", source, target)
                ]
            if "aws" in peers and number == 0:
                (files / "0000/0.bin").write_bytes(os.urandom(9000 + number))
                costs["aws s3 sync"] = [
                    bench.run(peers["aws"], "s3", "sync", "--only-show-errors", source, target)
                ]
        base = None
        for name, each in costs.items():
            seconds = _say(name, each, 1, base)
            base = base or seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--large", type=int, default=6000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default="s5cmd,aws")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--real", action="store_true", help="SeaweedFS in the place of the sink")
    options = parser.parse_args()
    os.environ.setdefault("CI", "true")
    peers = {n: found for n in options.peers.split(",") if n and (found := peer(n))}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = Path(folder)
        with contextlib.ExitStack() as stack:
            if options.real:
                url = stack.enter_context(s3_server(work / "s3")).url
            else:
                url = stack.enter_context(sink())
            bench = Bench(url, not options.real)
            later_peers = peers
            if not options.real:
                # For a reason not found, ``s5cmd sync`` sends everything again to the sink.
                later_peers = {n: p for n, p in peers.items() if n != "s5cmd"}
            if options.releases:
                first(bench, work, options.releases, options.runs, peers)
            if options.large:
                later(bench, work, options.large, options.runs, later_peers)


if __name__ == "__main__":
    main()
