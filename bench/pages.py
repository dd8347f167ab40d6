"""What pages cost: processor time a package, bytes of pages, scripts, and of the check.

``python -m bench.pages [--packages 1000]``. Bytes are gzipped, as hosts send them. The peer is the
same mirror without pages, in the same run.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from bench.build import NOW, corpus
from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, PackageDocument, Release
from cnrmirror.model.resource import Resource
from cnrmirror.views.base import Package, Settings
from cnrmirror.views.groups import Grouped
from cnrmirror.views.pages import Pages
from tests.mirrors import make

_MANY = 300


def zipped(resources: Iterable[Resource]) -> list[int]:
    """Bytes of each, gzipped."""
    return [len(gzip.compress(r.body, 6)) for r in resources if isinstance(r.body, bytes)]


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, the median of five runs."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def packages_of(project: Project) -> list[Package]:
    catalog = project.catalog
    documents = [catalog.document(ref) for ref in catalog.packages(project.tree())]
    return [Package(d, catalog.facts(d), project.store) for d in documents]


def with_many(package: Package) -> Package:
    """A package with as many releases as a page lists; no readme."""
    first = package.document.releases[0]
    releases: list[Release] = [
        msgspec.structs.replace(
            first, release=f"1.{n}.0",
            blob=Descriptor.of(str(n).encode()),
        )
        for n in range(_MANY)
    ]  # fmt: skip
    return Package(PackageDocument(package.document.package, releases))


def measure(project: Project, root: CatalogRoot) -> None:
    view = Pages(Settings("https://packages.example.com"))
    packages = packages_of(project)
    groups = Grouped(view, {p.document.package: view.entry(p) for p in packages})
    pages = [r for p in packages for r in view.package(p)]
    each = seconds(lambda: [list(view.package(p)) for p in packages]) / len(packages)
    lists = seconds(lambda: list(view.lists(groups, None, root)))
    sizes = zipped(pages)
    print(f"{len(packages)} pages: {1000 * each:.2f} CPU ms each; lists {lists:.2f} s")
    mean, most = statistics.mean(sizes), max(sizes)
    print(f"a page: mean {mean / 1000:.1f} KB, largest {most / 1000:.1f} KB")
    many = zipped(view.package(with_many(packages[0])))[0]
    print(f"a page with {_MANY} releases, without its readme: {many / 1000:.1f} KB")
    print(f"scripts and styles: {sum(zipped(view.fixed())) / 1000:.1f} KB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        charts = Path(work) / "charts"
        corpus(charts, options.packages * 10)
        project = make(Path(work) / "m", "00000000-0000-4000-8000-000000000001", NOW)
        push(project, [charts], Override(namespace="ns"), NOW)
        measure(project, project.root())


if __name__ == "__main__":
    main()
