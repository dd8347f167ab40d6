"""What pages list of all packages, out of what stands of each namespace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.views import pagelists
from cnrmirror.views.base import Settings
from cnrmirror.views.groups import Grouped
from cnrmirror.views.pagelists import Dated, PageEntry, newest_packages, newest_releases
from cnrmirror.views.pages import Pages

DATED = st.builds(
    Dated, st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
    st.sampled_from(["1.0.0", "2.0.0", "3.0.0"]), st.sampled_from(["helm", "kpm"]),
)  # fmt: skip
ENTRIES = st.dictionaries(
    st.builds("{}/{}".format, st.sampled_from(["a", "a-b", "b", "c"]), st.sampled_from("xyz")),
    st.builds(
        lambda dated: PageEntry.of("1.0.0", "", dated, False), st.lists(DATED, max_size=4)
    ),
)  # fmt: skip


@given(ENTRIES, st.integers(1, 9))
def test_the_newest_are_those_of_one_long_list(entries: dict[str, PageEntry], most: int) -> None:
    groups = Grouped(Pages(Settings()), entries)
    every = [(dated, package) for package in sorted(entries) for dated in entries[package].dated()]
    every.sort(key=lambda pair: pair[0].created, reverse=True)
    first = {package: dated for dated, package in reversed(every)}
    before = pagelists.FEED, pagelists.NEWEST
    pagelists.FEED = pagelists.NEWEST = most
    try:
        releases = [(dated, package) for dated, (package, _) in newest_releases(groups)]
        packages = [values["package"] for values in newest_packages(groups)]
    finally:
        pagelists.FEED, pagelists.NEWEST = before
    assert releases == every[:most]
    ordered = sorted(first, key=lambda package: package)
    ordered.sort(key=lambda package: first[package].created, reverse=True)
    assert packages == ordered[:most]
