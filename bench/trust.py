"""What trust costs: a cold verified pull, one push's part of the catalog, a full audit.

``python -m bench.trust [--packages 100 1000 10000 100000]``. Each package has ten releases. The
catalogs are made without archives and views (but for the one package that is pulled): this measures
metadata and nodes only. Requests and bytes are counted at the reader, beside the blob.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.scan import Limits
from cnrmirror.client.pull import pull
from cnrmirror.client.remote import Remote
from cnrmirror.model.documents import Content, PackageDocument, Release
from cnrmirror.model.names import Reference, content_type, manifest_type
from cnrmirror.objects.folder import FolderReader
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.mirrors import make


class Counting(FolderReader):
    """Counts what is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests = 0
        self.bytes = 0

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        self.requests += 1
        for piece in super().fetch(path, max_bytes):
            self.bytes += len(piece)
            yield piece


def document(name: str, releases: int, blob: bytes) -> PackageDocument:
    info = inspect(io.BytesIO(blob))
    content = Content(info.diff_id, content_type("helm", "appr"), info.blob.size)
    return PackageDocument(
        name,
        [
            Release(f"1.{n}.0", "helm", "2026-01-02T03:04:05", manifest_type("helm", "appr"),
                    content, info.blob)
            for n in range(releases)
        ],
    ).sorted()  # fmt: skip


def measure(work: Path, packages: int, runs: int) -> None:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    project = make(work / "mirror", f"bench {packages}", now)
    project.builder.bring_up = lambda head: None  # type: ignore[method-assign]
    blob = chart_bytes("p", "1.0.0")
    described = inspect(io.BytesIO(blob)).blob
    project.store.add_blob(described, [blob])
    project.commit(
        {f"ns/p{n}": document(f"ns/p{n}", 10, blob) for n in range(packages)}, "fill", now
    )
    catalog = project.site / "catalog"
    pushes, files, size = [], 0, 0
    for run in range(runs):
        time.sleep(0.05)  # the file system's clock is coarse
        before = time.time_ns() - 20_000_000
        begun = time.perf_counter()
        project.commit({"ns/p7": document("ns/p7", 11 + run, blob)}, "push", now)
        pushes.append(time.perf_counter() - begun)
        folders = [catalog / "metadata", catalog / "targets"]
        found = [p for f in folders for p in f.iterdir() if p.stat().st_mtime_ns >= before]
        node = project.catalog.find(project.tree(), "ns/p7")
        assert node is not None
        path = [r for r in (catalog / "nodes").glob("*/*/*") if r.stat().st_mtime_ns >= before]
        files = len(found) + len(path)
        size = sum(p.stat().st_size for p in (*found, *path))
    pinned = (project.metadata.path / "1.root.json").read_bytes()
    pulls = []
    for run in range(runs):
        reader = Counting(project.site)
        trust = Trust(pinned, work / f"cache{run}", work / f"marks{run}")
        begun = time.perf_counter()
        remote = Remote(reader, trust.verify(reader, Policy(), datetime.now(UTC)))
        pull(remote, Reference.parse("ns/p7"), None, work / f"d{run}", True, Limits())
        pulls.append(time.perf_counter() - begun)
    kilobytes = (reader.bytes - described.size) / 1000
    print(
        f"{packages:7} packages, {packages * 10:8} releases: "
        f"cold pull {reader.requests} requests, {kilobytes:5.1f} KB, "
        f"{statistics.median(pulls) * 1000:.0f} ms; "
        f"a push writes {files} files, {size / 1000:.1f} KB, "
        f"{statistics.median(pushes) * 1000:.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, nargs="*", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    for packages in options.packages:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            measure(Path(work), packages, options.runs)


if __name__ == "__main__":
    main()
