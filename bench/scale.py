"""What one small change costs in a large mirror: how it grows with the number of packages.

``python -m bench.scale [--packages 1000 10000] [--releases 10] [--folder DIR] [--no-sync]
[--one-word]``. Makes a mirror by writing its catalog through the project's own classes: all
share one archive, and only the lists of the site are written, and the files of the package that
changes. With ``--one-word``, all names have one word in common, and a number: that is the worst
case for the search. Prints a table: seconds, processor seconds and peak memory of whole commands.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.build import corpus
from cnrmirror.archive.facts import facts_of
from cnrmirror.archive.inspect import ArchiveReader
from cnrmirror.catalog.facts import with_facts
from cnrmirror.catalog.tree import Difference
from cnrmirror.mirror.build import bring_packages
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import ArchiveFacts, Content, Head, PackageDocument, Release
from cnrmirror.model.names import content_type
from cnrmirror.model.progress import NoProgress
from tests.conftest import chart_bytes
from tests.mirrors import make
from tests.searched import PARTS, THINGS

NAMESPACE = 100
"""Packages of one namespace."""
CHANGED = "ns-00000/changed-operator"


class Shared(NamedTuple):
    """The one archive of all releases, and what one look into it told."""

    path: Path
    release: Release
    facts: ArchiveFacts
    description: str


def shared(folder: Path) -> Shared:
    """An archive as real ones are."""
    corpus(folder, 1)
    (path,) = folder.iterdir()
    reader = ArchiveReader()
    reader.feed(path.read_bytes())
    info = reader.close()
    facts = facts_of(info.telling, info.clues)
    assert facts is not None
    content = Content(info.diff_id, content_type("helm", "appr"), info.blob.size, [])
    release = Release(
        "1.0.0", "helm", now(), "application/vnd.appr.package-manifest.helm.v1+json", content,
        info.blob,
    )  # fmt: skip
    return Shared(path, release, facts, str(facts.chart.get("description", "")))


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def names(packages: int, one_word: bool) -> Iterator[str]:
    """The packages; ``CHANGED`` is one of them."""
    chance = random.Random(7)
    there = {CHANGED}
    yield CHANGED
    for number in range(1, packages):
        namespace, name = f"ns-{number // NAMESPACE:05}", f"chart-{number:06}"
        if not one_word:
            name = chance.choice(THINGS)
            while f"{namespace}/{name}" in there:
                name += f"-{chance.choice(PARTS)}"
            there.add(f"{namespace}/{name}")
        yield f"{namespace}/{name}"


def documents(
    packages: Iterable[str], releases: int, archive: Shared, origin: str
) -> Iterator[PackageDocument]:
    """The packages of the mirror, each with a description of its own words."""
    words = archive.description.split()
    for number, name in enumerate(packages):
        text = " ".join([*words[: 4 + number % 8], f"w{number % 997}"])
        chart = {**archive.facts.chart, "name": name.partition("/")[2], "description": text}
        facts = ArchiveFacts(archive.facts.extractor, chart, archive.facts.images)
        made = [
            Release(
                f"1.{n}.0", "helm", f"2026-01-{1 + n % 28:02}T{number % 24:02}:00:00",
                archive.release.manifest_type, archive.release.content, archive.release.blob,
                origin=origin,
            )
            for n in reversed(range(releases))
        ]  # fmt: skip
        yield PackageDocument(name, made, inline_facts={archive.release.blob.digest: facts})


def mirror(
    folder: Path, packages: Iterable[str], releases: int, archive: Shared, origin: str
) -> Project:
    """A mirror of so many packages; its site has the lists, and the files of ``CHANGED``."""
    project = make(folder, f"scale-{origin}", now())
    with open(archive.path, "rb") as stream:
        project.store.add_blob(archive.release.blob, [stream.read()])
    refs = {}
    for document in documents(packages, releases, archive, origin):
        refs[document.package] = project.catalog.put(
            with_facts(project.catalog, document, None, {})
        )
    builder = project.builder

    def bring_up(head: Head) -> None:
        root = project.catalog.root(head.catalog)
        groups = builder.views.read_entries(project.catalog, root.tree)
        builder.tree.update(builder.views.all_lists(groups, root), [])
        ref = project.catalog.find(root.tree, CHANGED)
        some = [Difference(CHANGED, None, ref)]
        bring_packages(project.store, builder.views, builder.tree, some, NoProgress())
        builder._remember(head, groups)

    with project.signing(now()):
        project.builder.bring_up = bring_up  # type: ignore[method-assign]
        project.commit_tree(project.catalog.change(project.tree(), refs), "many", now())
    return project


def add_release(project: Project, version: str) -> None:
    """One more release, in the catalog alone."""
    project.builder.bring_up = lambda head: None  # type: ignore[method-assign]
    with project.signing(now()):
        document = project.document(CHANGED)
        new = Release(
            version, "helm", now(), document.releases[0].manifest_type,
            document.releases[0].content, document.releases[0].blob, origin="push",
        )  # fmt: skip
        grown = PackageDocument(
            CHANGED, [new, *document.releases], facts=document.facts,
            inline_facts=document.inline_facts,
        )  # fmt: skip
        project.commit({CHANGED: grown}, "one more", now())


class Cost(NamedTuple):
    """What a command took."""

    seconds: float
    cpu: float
    peak: int

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s, {self.cpu:.2f} CPU s, {self.peak} MB"


# A process begins with the peak of the one that starts it: this one is small.
_LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command(*words: str) -> Cost:
    """A command as people start it. Raises CalledProcessError."""
    launch = [sys.executable, "-S", "-c", _LAUNCH]
    began = time.perf_counter()
    done = subprocess.run(
        [*launch, sys.executable, "-m", "cnrmirror", *words], check=True, stdout=subprocess.PIPE
    )
    cpu, peak = done.stdout.split()
    return Cost(time.perf_counter() - began, float(cpu), int(peak))


def written(folder: Path, work: Callable[[], Cost]) -> str:
    """What a command took, and which bytes it wrote below ``folder``, private and public."""
    mark = time.time_ns()
    cost = work()
    sizes = {"site": 0, ".state": 0}
    for top in sizes:
        for parent, folders, files in os.walk(folder / top):
            if parent == str(folder / "site"):
                folders[:] = [f for f in folders if f != "catalog"]
            if "upstream" in folders:
                folders.remove("upstream")
            for name in files:
                status = os.lstat(f"{parent}/{name}")
                sizes[top] += status.st_size if status.st_mtime_ns >= mark else 0
    text = ", ".join(f"{top} {size / 1e6:.1f} MB" for top, size in sizes.items())
    return f"{cost}; wrote {text}"


def measure(work: Path, packages: Sequence[str], releases: int, syncs: bool) -> None:
    """Print the rows of one size."""
    archive = shared(work / "charts")
    began = time.perf_counter()
    project = mirror(work / "m", packages, releases, archive, "up")
    here = ("-C", str(project.folder))
    print(f"{len(packages)} packages, {len(packages) * releases} releases (made in "
          f"{time.perf_counter() - began:.0f} s)", flush=True)  # fmt: skip

    def row(name: str, *words: str) -> None:
        print(f"  {name:28} {written(project.folder, lambda: command(*here, *words))}", flush=True)

    row("list", "list")
    for number in range(2):
        package = ("--as", CHANGED, "--release", f"9.{number}.0", str(archive.path))
        row(f"push of one release, {number + 1}.", "push", *package)
    site = ("--from", str(project.site), "--trust-on-first-use")
    row("audit of a sample of five", "check", *site, "--sample", "5", "--no-views")
    if syncs:
        folder = project.folder / "charts"
        folder.mkdir()
        (folder / "own-1.0.0.tgz").write_bytes(chart_bytes("own", "1.0.0"))
        up = mirror_to_sync(work / "up", packages, releases, archive, project)
        row("sync, first on this machine", "sync")
        (folder / "own-1.1.0.tgz").write_bytes(chart_bytes("own", "1.1.0"))
        row("sync of a folder, one new", "sync", "own")
        add_release(up, "10.0.0")
        row("sync of a mirror, one new", "sync", "up")
        row("sync, nothing new", "sync")


def mirror_to_sync(
    folder: Path, packages: Iterable[str], releases: int, archive: Shared, project: Project
) -> Project:
    """A mirror with the same releases, as a source of ``project``; and a folder of charts."""
    up = mirror(folder, packages, releases, archive, "push")
    shutil.copy(up.trusted_root, project.folder / "up.json")
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write(
            f"sources:\n  up: {{type: mirror, location: {up.site}, root: up.json}}\n"
            "  own: {type: charts, folder: charts, namespace: own}\n"
        )
    return up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--releases", type=int, default=10)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    parser.add_argument("--no-sync", action="store_true")
    parser.add_argument("--one-word", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("CI", "true")
    for count in options.packages:
        with tempfile.TemporaryDirectory(dir=options.folder) as work:
            packages = list(names(count, options.one_word))
            measure(Path(work), packages, options.releases, not options.no_sync)


if __name__ == "__main__":
    main()
