"""Sync: who waits for whom, memory by the number of archives, and what one new release costs.

``python -m bench.sync [--packages 2000] [--runs 3] [--helm PATH] [--megabytes 40]``. Needs the
reference server (``.ci/run`` installs it). Its datastore is written as the server would write it,
since 2,000 pushes through it take longer than all the rest; it is read through the server. Prints:

* from the live server, all of it, then with nothing new, then one package by a filter: wall time,
  this process' CPU time, and the share of the time that was spent waiting for the server; the share
  of the wall time that the server itself was busy;
* peak memory of a sync of the same number of packages with N and 4 N archives;
* from another mirror, after one new release: requests and bytes moved;
* from a large ``index.yaml``, one chart by a filter: requests, our CPU time beside that of ``helm
  repo add`` and ``repo update`` with the same index, and peak memory.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cnrmirror.archive.identify import Override
from cnrmirror.archive.inspect import inspect
from cnrmirror.bundle.places import reader_for
from cnrmirror.mirror.push import push
from cnrmirror.objects.http import HttpReader
from cnrmirror.sources.filters import Filter
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sources.keys import FolderKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.open import open_sources
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.hostile import hosting
from tests.interop.ports import free_port
from tests.interop.reference import reference_server
from tests.mirrors import make, reopen

_TICKS = os.sysconf("SC_CLK_TCK")


def datastore(folder: Path, packages: int, releases: int) -> None:
    """A filesystem datastore of appr, with so many packages of so many releases."""
    base = folder / "appr/packages"
    index: dict[str, object] = {}
    for number in range(packages):
        name = f"p{number}"
        index[name] = {"created_at": NOW, "name": name, "namespace": "ns"}
        found = {}
        for minor in range(releases):
            release = f"1.{minor}.0"
            blob = chart_bytes(name, release)
            digest = inspect(io.BytesIO(blob)).diff_id
            place = base / "ns" / name / "digests/sha256" / digest
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(base64.b64encode(blob))
            found[release] = {
                "channels": [],
                "manifests": {"helm": _manifest(f"ns/{name}", release, digest, len(blob))},
            }
        document = {"page": 0, "channels": {}, "releases": found}
        (base / "ns" / name / "releases.json").write_text(json.dumps(document))
    (base / "packages.json").write_text(json.dumps({"page": 0, "packages": {"ns": index}}))


def _manifest(package: str, release: str, digest: str, size: int) -> dict[str, object]:
    media_type = "application/vnd.appr.package.helm.v0.tar+gzip"
    content = {"digest": digest, "size": size, "urls": [], "mediaType": media_type}
    return {
        "package": package, "release": release, "created_at": NOW, "metadata": None,
        "mediaType": "application/vnd.appr.package-manifest.helm.v0.json", "content": content,
    }  # fmt: skip


def children(pid: int) -> Iterator[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    for child in map(int, text.split()):
        yield child
        yield from children(child)


def server_seconds() -> float:
    """CPU seconds of all processes that this one has started."""
    total = 0
    for pid in children(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def from_server(work: Path, packages: int, runs: int) -> None:
    """The first sync and one with nothing new, from the live reference server."""
    datastore(work / "server/db", packages, 1)
    rules = {"first": Rules(), "again": Rules(), "one": Rules(filter=Filter(packages=["ns/p7"]))}
    rows: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in rules}
    with reference_server("appr", work / "server", free_port()) as url:
        for run in range(runs):
            project = make(work / f"live{run}", "bench")
            for name, row in rows.items():
                if name == "one":
                    project = make(work / f"one{run}", "bench")
                http = HttpReader(url)
                source = RegistrySource("live", http, answers=work / f"answers{run}")
                wall, cpu, server = time.perf_counter(), time.process_time(), server_seconds()
                report = sync(project, [(source, rules[name])], NOW)
                wall = time.perf_counter() - wall
                cpu = time.process_time() - cpu
                row.append((wall, cpu, server_seconds() - server, http.requests))
                http.close()
                assert report.exit_code == 0, report.sources[0].holes[:3]
    print(f"{packages} packages from appr 0.7.4 (one worker), medians of {runs}:")
    print(f"  {'':8} {'wall':>8} {'our CPU':>8} {'server':>8} {'waiting':>8} {'requests':>9}")
    for name, row in rows.items():
        wall, cpu, server, requests = (statistics.median(c) for c in zip(*row, strict=True))
        waiting = statistics.median(1 - min(1.0, c / w) for w, c, _, _ in row)
        print(
            f"  {name:8} {wall:6.1f} s {cpu:6.1f} s {server:6.1f} s {waiting:8.0%} {requests:9.0f}",
            flush=True,
        )


def one_peak(store: str, mirror: str) -> None:
    """Sync a datastore in this process, and say what memory it took (in KiB)."""
    project = make(Path(mirror), "bench")
    source = KeyValueSource("dead", FolderKeys(Path(store)))
    report = sync(project, [(source, Rules())], NOW)
    print(report.sources[0].fetched, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory(work: Path, packages: int, runs: int) -> None:
    """Peak memory for N and 4 N archives of the same packages, each in a process of its own."""
    print(f"peak memory, {packages} packages, medians of {runs}:")
    for releases in (1, 4):
        store = work / f"store{releases}"
        datastore(store, packages, releases)
        peaks = []
        for run in range(runs):
            command = [sys.executable, "-m", "bench.sync", "--peak", str(store),
                       str(work / f"peak{releases}-{run}")]  # fmt: skip
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            fetched, peak = map(int, out.split())
            assert fetched == packages * releases
            peaks.append(peak)
        print(f"  {packages * releases:6} archives {statistics.median(peaks) / 1024:8.0f} MiB",
              flush=True)  # fmt: skip


def from_mirror(work: Path, packages: int, runs: int) -> None:
    """What moves from another mirror over HTTP, after one new release."""
    datastore(work / "first-store", packages, 1)
    first = make(work / "first", "bench")
    sync(first, [(KeyValueSource("dead", FolderKeys(work / "first-store")), Rules())], NOW)
    second = make(work / "second", "second")
    moved = []
    with hosting(first.site) as host:
        with (second.folder / "mirror.yaml").open("a") as config:
            config.write(
                f"sources:\n  first:\n    type: mirror\n    location: {host.url}\n"
                f"    root: {first.metadata.path / '1.root.json'}\n"
            )
        second = reopen(second.folder)
        for run in range(runs + 1):
            if run:
                path = work / f"p7-9.{run}.0.tgz"
                path.write_bytes(chart_bytes("p7", f"9.{run}.0"))
                push(first, [path], Override(namespace="ns"), now())
            else:
                assert first.signer is not None
                first.signer.sign_revision(first.head(), now())
            requests, sent, begun = len(host.requests), host.sent, time.perf_counter()
            report = sync(second, open_sources(second, [], {}, reader_for), NOW)
            assert report.exit_code == 0 and report.sources[0].fetched == (1 if run else packages)
            moved.append(
                (len(host.requests) - requests, host.sent - sent, time.perf_counter() - begun)
            )
    print(f"from another mirror of {packages} packages over HTTP, medians of {runs}:")
    for name, rows in (("first sync", moved[:1]), ("one new release", moved[1:])):
        requests, sent, wall = (statistics.median(c) for c in zip(*rows, strict=True))
        print(f"  {name:16} {requests:6.0f} requests {sent / 1000:9.1f} KB {wall:6.2f} s")


def large_index(path: Path, megabytes: int) -> int:
    """An index as helm writes it, of charts of 100 versions; how many versions."""
    versions, chart = 0, 0
    with path.open("w") as stream:
        stream.write("apiVersion: v1\nentries:\n")
        while stream.tell() < megabytes << 20:
            stream.write(f"  c{chart}:\n")
            for minor in range(100):
                stream.write(
                    f"  - apiVersion: v2\n    appVersion: 1.{minor}.0\n"
                    '    created: "2024-01-02T03:04:05.678901234Z"\n'
                    f"    description: {'What a chart says that it is for. ' * 3}\n"
                    f"    digest: {chart * 100 + minor:064x}\n    name: c{chart}\n"
                    "    maintainers:\n    - email: a@example.com\n      name: a\n"
                    f"    urls:\n    - c{chart}-1.{minor}.0.tgz\n    version: 1.{minor}.0\n"
                )
            versions, chart = versions + 100, chart + 1
        stream.write('generated: "2024-01-02T03:04:05Z"\n')
    return versions


def one_index(url: str, mirror: str) -> None:
    """Sync one chart of a large index in this process; requests, CPU seconds, memory (KiB)."""
    project = make(Path(mirror), "bench")
    http = HttpReader(url)
    rules = Rules(filter=Filter(packages=["ns/c0"], releases="1.0.0"))
    cpu = time.process_time()
    report = sync(project, [(HelmSource("large", http, "ns"), rules)], NOW)
    cpu = time.process_time() - cpu
    assert report.sources[0].wanted == 1
    print(http.requests, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def from_index(work: Path, helm: str, megabytes: int, runs: int) -> None:
    """One chart of a large index, beside what helm does with that index."""
    (work / "site").mkdir()
    versions = large_index(work / "site/index.yaml", megabytes)
    ours: list[list[float]] = []
    theirs = []
    with hosting(work / "site") as host:
        for run in range(runs):
            command = [sys.executable, "-m", "bench.sync", "--index", host.url,
                       str(work / f"index{run}")]  # fmt: skip
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            ours.append([float(word) for word in out.split()])
            if helm:
                theirs.append(helm_update(helm, work / f"helm{run}", host.url))
    requests, cpu, peak = (statistics.median(c) for c in zip(*ours, strict=True))
    print(f"one chart of an index of {megabytes} MB, {versions} versions, medians of {runs}:")
    print(f"  cnrmirror sync     {requests:3.0f} requests {cpu:6.1f} CPU s {peak / 1024:6.0f} MiB")
    for name, column in zip(("repo add", "repo update"), zip(*theirs, strict=True), strict=False):
        print(f"  helm {name:13}              {statistics.median(column):6.1f} CPU s")


def helm_update(helm: str, folder: Path, url: str) -> tuple[float, ...]:
    """CPU seconds of adding the repository, and of updating it."""
    folder.mkdir()
    environment = {
        **os.environ,
        **{f"HELM_{k}_HOME": str(folder) for k in ("CACHE", "CONFIG", "DATA")},
    }
    found = []
    for command in (["repo", "add", "x", url], ["repo", "update"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([helm, *command], check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return tuple(found)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peak", nargs=2, metavar=("STORE", "MIRROR"), help=argparse.SUPPRESS)
    parser.add_argument("--index", nargs=2, metavar=("URL", "MIRROR"), help=argparse.SUPPRESS)
    parser.add_argument("--helm", default="")
    parser.add_argument("--megabytes", type=int, default=40)
    options = parser.parse_args()
    if options.peak:
        one_peak(*options.peak)
        return
    if options.index:
        one_index(*options.index)
        return
    os.environ.setdefault("CI", "true")
    for measure in (from_server, memory, from_mirror):
        with tempfile.TemporaryDirectory() as work:
            measure(Path(work), options.packages, options.runs)
    with tempfile.TemporaryDirectory() as work:
        from_index(Path(work), options.helm, options.megabytes, options.runs)


if __name__ == "__main__":
    main()
