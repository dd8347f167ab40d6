"""The mirror and the hosts that tests share; the tables of docs/hosts.md, out of test results.

They are written when CNRMIRROR_HOSTS_TABLE names that file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.today import PLACES, Place, Shop, hosted

SERVERS = ("nginx", "caddy", "apache", "lighttpd")
CLIENTS = {
    "helm4": "helm 4.1", "helm3": "helm 3.17", "helm39": "helm 3.9", "skopeo": "skopeo 1.9",
    "containerd": "containerd 1.6", "oras": "oras 0.2 (Python)",
}  # fmt: skip
_TEST = re.compile(r"test_(hosts|views|pages|today|oci_clients)\.py::test_(\w+)\[(.*)\]$")
# By table, row and column: how many tests there were, and how many passed.
_RESULTS: dict[str, dict[str, dict[str, list[bool]]]] = {
    "hosts": {}, "views": {}, "pages": {}, "today": {},
}  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a bucket cannot do, as the mark of the test says."""

    def is_left_out(item: pytest.Item) -> bool:
        of_bucket = getattr(item, "callspec", None) and "bucket" in item.callspec.params.values()  # type: ignore[attr-defined]
        return bool(of_bucket) and item.get_closest_marker("not_on_a_bucket") is not None

    config.hook.pytest_deselected(items=[item for item in items if is_left_out(item)])
    items[:] = [item for item in items if not is_left_out(item)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep a result under the table, row and column in which docs/hosts.md has it."""
    match = _TEST.search(report.nodeid)
    if match is None or report.skipped or (report.when != "call" and report.passed):
        return
    file, name, parameters = match.groups()
    table = "today" if file == "oci_clients" else file
    words = parameters.split("-")
    column = next((place for place in PLACES if place in words), None)
    row = name.replace("_", " ")
    if table == "today":
        row = next(CLIENTS[c] for c in CLIENTS if c in words or name.startswith(f"{c}_"))
    if column:
        _RESULTS[table].setdefault(row, {}).setdefault(column, []).append(report.passed)


def _cell(results: list[bool], counted: bool) -> str:
    if not results:
        return "–"
    if counted:
        return f"{sum(results)} of {len(results)}"
    return "✓" if all(results) else "✗"


def _table(name: str) -> str:
    columns = SERVERS if name == "hosts" else PLACES
    rows = _RESULTS[name]
    # In the order of CLIENTS, not of the run.
    names = [c for c in CLIENTS.values() if c in rows] if name == "today" else list(rows)
    body = [
        [row, *(_cell(rows[row].get(c, []), name == "today") for c in columns)] for row in names
    ]
    if name == "today":
        columns_of = {c: [r for row in rows.values() for r in row.get(c, [])] for c in columns}
        body.append(["together", *(_cell(columns_of[c], True) for c in columns)])
    lines = [["", *columns], ["---"] * (len(columns) + 1), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def pytest_sessionfinish() -> None:
    """Put the tables into docs/hosts.md, if that was asked for."""
    target = os.environ.get("CNRMIRROR_HOSTS_TABLE")
    if not target:
        return
    text = Path(target).read_text()
    for name, rows in _RESULTS.items():
        if rows:
            pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
            table = f"\\1\n{_table(name)}\n\\2"
            text = re.sub(pattern, table, text, flags=re.S)
    Path(target).write_text(text)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One mirror for every test of Helm and OCI clients: none changes it."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.signer.close()


@pytest.fixture(scope="session", params=PLACES)
def place(
    request: pytest.FixtureRequest, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """The mirror on each kind of host, started once."""
    folder = tmp_path_factory.mktemp("place")
    with hosted(request.param, shop, folder / request.param) as url:
        yield Place(request.param, url, folder)
