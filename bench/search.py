"""The files of search: processor time, number, bytes, and what a first query loads.

``python -m bench.search [--packages 10000 100000]``. Bytes are gzipped, as hosts send them. The
time of one push is the sum of both calls, before it and after it.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
from collections.abc import Mapping

from cnrmirror.views.base import Settings
from cnrmirror.views.groups import Grouped
from cnrmirror.views.search import Search
from cnrmirror.views.searchshards import Words, shards, words_of
from tests.node_search import searched
from tests.searched import synthetic

QUERIES = (
    "redis", "nginx ingress", "prom", "kafka operator", "wordpress", "database backup", "vault",
    "grafana dashboards", "gateway api", "zookeeper",
)  # fmt: skip
VIEW = Search(Settings())
Change = Mapping[str, tuple[Words | None, Words | None]]


def whole(entries: Mapping[str, Words]) -> tuple[dict[str, bytes], float]:
    """All files, and the seconds that they took."""
    begun = time.process_time()
    files = dict(shards(Grouped(VIEW, entries), None))
    return files, time.process_time() - begun


def push(entries: dict[str, Words], package: str, words: Words) -> tuple[int, int, float]:
    """How many files one push rewrites, their bytes, and the seconds that it took."""
    after = {**entries, package: words}
    changed: Change = {package: (entries.get(package), words)}
    before, now = Grouped(VIEW, entries), Grouped(VIEW, after)
    before.summaries(), now.summaries()
    begun = time.process_time()
    old, new = dict(shards(before, changed)), dict(shards(now, changed))
    spent = time.process_time() - begun
    differ = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    return len(differ), sum(len(new.get(name, b"")) for name in differ), spent


def measure(count: int) -> None:
    entries = synthetic(count)
    files, seconds = whole(entries)
    sizes = {name: len(gzip.compress(data, 6)) for name, data in files.items()}
    print(
        f"{count} packages: all files {seconds:.2f} CPU s, {len(files)} files, "
        f"{sum(sizes.values()) / 1e6:.2f} MB, median {statistics.median(sizes.values()):.0f} B, "
        f"largest {max(sizes.values()) / 1e3:.0f} KB, root {sizes['s-.js'] / 1e3:.1f} KB"
    )
    middle = sorted(entries)[count // 2]
    old = entries[middle]
    fresh = Words("99.0.0", old.description, old.name, old.keywords, old.text)
    said = "A redis operator for teams, pushed later than all others of its kind"
    other = words_of("zz/new-redis-operator", "1.0.0", said, ["redis", "cache"])
    for title, package, words in (
        ("new release", middle, fresh),
        ("new package", "zz/new-redis-operator", other),
    ):
        found = [push(entries, package, words) for _ in range(5)]
        spent = statistics.median(run[2] for run in found)
        print(
            f"  {title}: {found[0][0]} files, {found[0][1] / 1e3:.0f} KB, {spent * 1e3:.0f} CPU ms"
        )
    loaded = []
    for query in QUERIES:
        answer = searched(files, [query])[0]
        loaded.append(sum(sizes[name] for name in answer["loaded"] if name in sizes))
        if query == QUERIES[0]:
            print(f"  first query: {loaded[0] / 1e3:.1f} KB, {len(answer['loaded'])} requests")
    print(f"  ten queries: median {statistics.median(loaded) / 1e3:.1f} KB, "
          f"largest {max(loaded) / 1e3:.1f} KB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, nargs="*", default=[10_000, 100_000])
    for count in parser.parse_args().packages:
        measure(count)


if __name__ == "__main__":
    main()
