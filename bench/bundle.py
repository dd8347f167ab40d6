"""Bundles beside tar: export, import and their memory; what a difference of one release weighs.

``python -m bench.bundle [--blobs 2000] [--kilobytes 100] [--runs 3] [--folder DIR]``. Export is
held against ``tar -c`` and ``sha256sum`` of what was written; import against ``sha256sum``, ``tar
-x`` and ``sync -f`` of the same volume. Every command runs by itself; the disk's cache is warm.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.trust import document
from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.documents import PackageDocument
from tests.conftest import chart_bytes, tar_gz
from tests.mirrors import make

CLI = [sys.executable, "-m", "cnrmirror"]


def timed(command: list[str], cwd: Path | None = None) -> tuple[float, int]:
    """Seconds and peak kilobytes of a command."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - begun, usage.ru_maxrss


def fill(work: Path, blobs: int, size: int) -> Project:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    project = make(work / "a", f"bench {blobs}", now)
    noise = random.Random(1)
    (work / "in").mkdir()
    for number in range(blobs):
        chart = f"name: p{number}\nversion: 1.0.0\n".encode()
        data = tar_gz({f"p{number}/Chart.yaml": chart, f"p{number}/n": noise.randbytes(size)})
        (work / "in" / f"p{number}-1.0.0.tgz").write_bytes(data)
    push(project, [work / "in"], Override(namespace="ns"), now)
    shutil.rmtree(work / "in")
    return project


def throughput(work: Path, blobs: int, size: int, runs: int) -> None:
    project = fill(work, blobs, size)
    found: dict[str, list[float]] = {name: [] for name in ("export", "tar-c", "import", "tar-x")}
    memory = {"export": 0, "import": 0}
    out = work / "out"
    for _ in range(runs):
        for name in ("out", "b", "x", "x.tar"):
            path = work / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        seconds, peak = timed([*CLI, "-C", str(project.folder), "export", str(out)])
        found["export"].append(seconds)
        memory["export"] = max(memory["export"], peak)
        script = "tar -cf ../x.tar site/catalog && sha256sum ../x.tar && sync -f ../x.tar"
        found["tar-c"].append(timed(["sh", "-c", script], project.folder)[0])
        root = str(project.metadata.path / "1.root.json")
        timed([*CLI, "init", str(work / "b"), "--follow", root])
        seconds, peak = timed([sys.executable, "-c", _IMPORT, str(work / "b"), str(out)])
        found["import"].append(seconds)
        memory["import"] = max(memory["import"], peak)
        (work / "x").mkdir()
        script = "sha256sum ../out/volume-001.tar && tar -xf ../out/volume-001.tar && sync -f ."
        found["tar-x"].append(timed(["sh", "-c", script], work / "x")[0])
    whole = sum(path.stat().st_size for path in out.iterdir())
    carried = sum(p.stat().st_size for p in (project.site / "catalog").rglob("*") if p.is_file())
    middle = {name: statistics.median(values) for name, values in found.items()}
    rates = {name: whole / 1e6 / seconds for name, seconds in middle.items()}
    print(
        f"{blobs} blobs of {size // 1000} KB, {whole / 1e6:.0f} MB, {whole / carried:.3f} of the "
        f"catalog: export {middle['export']:.2f} s ({rates['export']:.0f} MB/s), "
        f"{_ratio(found['export'], found['tar-c']):.2f} of tar+sha256sum; "
        f"import {middle['import']:.2f} s ({rates['import']:.0f} MB/s), "
        f"{_ratio(found['import'], found['tar-x']):.2f} of sha256sum+tar; "
        f"peak {memory['export'] // 1000} and {memory['import'] // 1000} MB",
        flush=True,
    )


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


# Without the views, which are not what is measured.
_IMPORT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from cnrmirror.bundle.read import BundleReader
from cnrmirror.trust.verify import Policy
from cnrmirror.airgap.arrive import check_bundle
from cnrmirror.airgap.follow import follow
from cnrmirror.mirror.project import Project
project, reader = Project(Path(sys.argv[1])), BundleReader([Path(sys.argv[2])])
project.builder.bring_up = lambda head: None
check_bundle(project, reader)
follow(project, reader, Policy(), datetime.now(UTC))
"""


def difference(work: Path, releases: int) -> None:
    """The weight of one new release on a large mirror (its other archives need not be there)."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    project = make(work / "a", f"bench {releases} releases", now)
    project.builder.bring_up = lambda head: None  # type: ignore[method-assign]
    blob = chart_bytes("p", "1.0.0")
    fresh = chart_bytes("p", "9.0.0")
    changes: dict[str, PackageDocument | None] = {
        f"ns/p{n}": document(f"ns/p{n}", 10, blob) for n in range(releases // 10)
    }
    project.commit(changes, "fill", now)
    known = project.head().catalog.digest
    info = document("ns/p7", 1, fresh).releases[0].blob
    project.store.add_blob(info, [fresh])
    old = document("ns/p7", 10, blob).releases
    new = [r for r in document("ns/p7", 11, fresh).releases if r.release == "1.10.0"]
    project.commit({"ns/p7": PackageDocument("ns/p7", [*new, *old]).sorted()}, "push", now)
    timed([*CLI, "-C", str(project.folder), "export", str(work / "out"), "--since", known])
    size = sum(path.stat().st_size for path in (work / "out").iterdir())
    print(f"{releases} releases: one more is {size} bytes, its blob {info.size}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--releases", type=int, default=10_000)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    for blobs in (options.blobs // 4, options.blobs):
        with tempfile.TemporaryDirectory(dir=options.folder) as work:
            throughput(Path(work), blobs, options.kilobytes * 1000, options.runs)
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        difference(Path(work), options.releases)


if __name__ == "__main__":
    main()
