"""/metrics of serve: what a monitor is told, in a form that Prometheus reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from cnrmirror.airgap.export import plan, write
from cnrmirror.bundle.format import Selection
from cnrmirror.bundle.read import BundleReader
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import NetworkError
from cnrmirror.model.exposition import Family, Sample, exposition
from cnrmirror.server import create_app
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.server.metrics import of_bundle, of_project
from cnrmirror.sources.base import Hole
from cnrmirror.sync import metrics as of_syncs
from cnrmirror.sync.memory import remember, remembered
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from tests.conftest import NOW
from tests.exposed import samples_of
from tests.mirrors import make, reopen
from tests.test_serve import BASE, serving
from tests.test_sync import Memory

TWO = """\
sources:
  here: {type: charts, folder: c, namespace: c}
  new: {type: charts, folder: c, namespace: d}
"""
AT = 1767323045  # NOW


@pytest.fixture
def watched(tmp_path: Path) -> Project:
    """A mirror with two sources, one of which was never asked."""
    folder = make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000001").folder
    with (folder / "mirror.yaml").open("a") as config:
        config.write(TWO)
    project = reopen(folder)
    upstream = Memory()
    upstream.name = "here"
    upstream.put("ns/a", "1.0.0")
    sync(project, [(upstream, Rules())], NOW)
    return project


def client_of(project: Project) -> Client:
    return Client(Application(project, None, of_project(project, lambda: NOW)))


def scraped(client: Client) -> dict[Any, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples_of(answer.text)


def test_a_scrape_tells_of_the_mirror_its_roles_and_its_sources(watched: Project) -> None:
    found = scraped(client_of(watched))
    assert found["cnrmirror_revision",] == 1 and found["cnrmirror_releases",] == 1
    assert found["cnrmirror_packages",] == 1
    assert found["cnrmirror_revision_timestamp_seconds",] == AT
    expiries = {
        key[1][1]: value
        for key, value in found.items()
        if key[0] == "cnrmirror_role_expiry_timestamp_seconds"
    }
    roles = watched.metadata.freshness().roles
    assert expiries == {role.role: role.at.at.timestamp() for role in roles}
    assert found["cnrmirror_sync_success_timestamp_seconds", ("source", "here")] == AT
    assert found["cnrmirror_sync_releases", ("source", "here"), ("state", "fetch")] == 1
    assert found["cnrmirror_sync_holes", ("acknowledged", "true"), ("source", "here")] == 0
    assert found["cnrmirror_readable", ("part", "mirror")] == 1
    assert found["cnrmirror_readable", ("part", "sources")] == 1


def test_a_source_that_was_never_asked_is_told_of_as_of_1970(watched: Project) -> None:
    found = scraped(client_of(watched))
    new = {key[0]: value for key, value in found.items() if ("source", "new") in key}
    assert new == {
        "cnrmirror_sync_timestamp_seconds": 0,
        "cnrmirror_sync_success_timestamp_seconds": 0,
    }


def test_without_the_option_there_is_no_such_path(project: Project) -> None:
    assert Client(Application(project)).get("/metrics").status_code == 404


def test_no_page_elsewhere_can_read_a_scrape_and_no_cache_keeps_it(watched: Project) -> None:
    client = client_of(watched)
    answer = client.get("/metrics")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get(BASE).headers["Access-Control-Allow-Origin"] == "*"
    assert client.head("/metrics").data == b"" and client.post("/metrics").status_code == 405


def test_a_scrape_reads_no_package_and_no_memory_twice(
    watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(watched)
    first = scraped(client)

    def never(*_: Any) -> Any:
        raise AssertionError("a scrape is to be cheap")

    monkeypatch.setattr(watched.catalog, "document", never)
    monkeypatch.setattr(watched.catalog, "packages", never)
    monkeypatch.setattr(of_syncs, "remembered", never)
    again = scraped(client)
    assert {k for k in first if "http" not in k[0]} == {k for k in again if "http" not in k[0]}


def test_a_new_sync_a_new_day_and_an_acknowledgement_are_seen(watched: Project) -> None:
    days = ["2026-01-02T03:04:05"]
    client = Client(Application(watched, None, of_project(watched, lambda: days[0])))
    key = "cnrmirror_sync_holes", ("acknowledged", "true"), ("source", "here")
    assert scraped(client)[key] == 0
    upstream = Memory()
    upstream.name = "here"
    upstream.put("ns/a", "1.0.0")
    upstream.holes = [Hole.of_release("ns/b", "9.0.0", "500")]
    sync(reopen(watched.folder), [(upstream, Rules())], "2026-01-02T04:00:00")
    assert scraped(client)["cnrmirror_sync_exit_code", ("source", "here")] == 14
    assert scraped(client)[key] == 0
    rule = "- {package: ns/b, release: 9.0.0, reason: x, until: 2026-01-02}\n"
    (watched.folder / "acknowledged.yaml").write_text(rule)
    assert scraped(client)[key] == 1
    days[0] = "2026-01-03T00:00:00"
    assert scraped(client)[key] == 0


def test_what_cannot_be_read_is_said_and_is_no_harm_to_the_rest(watched: Project) -> None:
    client = client_of(watched)
    memory = watched.layout.source_memory("here")
    good = memory.read_bytes()
    for bad in (good.replace(b'"read":', b'"read":99', 1), b"{", b""):
        memory.write_bytes(bad)
        found = scraped(client)
        assert found["cnrmirror_revision",] == 1
        assert found["cnrmirror_sync_success_timestamp_seconds", ("source", "new")] == 0
        newer = bad.startswith(b"{") and bad != b"{"
        assert found["cnrmirror_readable", ("part", "sources")] == (0 if newer else 1)
        told = ("cnrmirror_sync_success_timestamp_seconds", ("source", "here"))
        assert found.get(told) == (None if newer else 0), "damaged: as if it was never asked"
    memory.write_bytes(good)
    (watched.folder / "acknowledged.yaml").write_text("7")
    found = scraped(client)
    assert found["cnrmirror_sync_exit_code", ("source", "here")] == 0
    assert found["cnrmirror_readable", ("part", "sources")] == 0
    timestamp = watched.metadata.path / "timestamp.json"
    timestamp.rename(timestamp.with_name("aside"))
    found = scraped(client)
    assert found["cnrmirror_readable", ("part", "mirror")] == 0
    assert ("cnrmirror_revision",) not in found


def test_a_mirror_that_follows_and_has_taken_in_nothing_is_scraped(tmp_path: Path) -> None:
    project = make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000001")
    (project.metadata.path / "timestamp.json").unlink()
    found = scraped(client_of(reopen(project.folder)))
    assert found["cnrmirror_readable", ("part", "mirror")] == 0


def test_answers_are_counted_by_class_and_their_bodies_by_bytes(watched: Project) -> None:
    client = client_of(watched)
    pulled = client.get(f"{BASE}/ns/a/1.0.0/helm/pull", buffered=True)
    client.head(f"{BASE}/ns/a/1.0.0/helm/pull", buffered=True)
    client.get(f"{BASE}/ns/a/1.0.0/helm/pull", headers={"If-None-Match": pulled.headers["ETag"]})
    missing = client.get("/nothing")
    client.options(BASE)
    found = scraped(client)
    answers = {
        key[1][1]: int(value)
        for key, value in found.items()
        if key[0] == "cnrmirror_http_answers_total"
    }
    assert answers == {"1xx": 0, "2xx": 3, "3xx": 1, "4xx": 1, "5xx": 0}
    size = len(pulled.data) + len(missing.data)
    assert found["cnrmirror_http_answer_bytes_total",] == size
    assert scraped(client)["cnrmirror_http_answer_bytes_total",] > size, "scrapes are answers, too"


def test_a_bundle_tells_of_itself_and_of_no_source(watched: Project, tmp_path: Path) -> None:
    signed = watched.metadata.signed_head()
    write(watched, tmp_path / "out", plan(watched, Selection(signed.at.digest), signed))
    mirror = BundleMirror(BundleReader([tmp_path / "out"]))
    found = scraped(Client(Application(mirror, None, of_bundle(mirror))))
    own = scraped(client_of(watched))
    of_mirror = {
        k: v
        for k, v in own.items()
        if not k[0].startswith(("cnrmirror_sync", "cnrmirror_readable"))
    }
    assert {k: v for k, v in found.items() if k in of_mirror} == of_mirror
    assert found["cnrmirror_readable", ("part", "mirror")] == 1
    assert not [k for k in found if "sync" in k[0] or ("part", "sources") in k]


def test_serve_answers_metrics_only_if_it_is_told_to(watched: Project) -> None:
    with serving(watched, "--metrics") as address:
        answer = requests.get(f"{address}/metrics", timeout=60)
        assert samples_of(answer.text)["cnrmirror_revision",] == 1
    with serving(watched) as address:
        assert requests.get(f"{address}/metrics", timeout=60).status_code == 404


def test_an_application_for_several_processes_counts_no_answers(watched: Project) -> None:
    client = Client(create_app(watched.folder, metrics=True))
    found = scraped(client)
    assert found["cnrmirror_revision",] == 1
    assert not [key for key in found if "http" in key[0]]


# -- what a sync leaves ---------------------------------------------------------------------------


def test_the_last_success_outlives_runs_that_fail(watched: Project) -> None:
    upstream = Memory()
    upstream.name = "here"
    upstream.failure = NetworkError("gone")
    later = "2026-01-05T00:00:00"
    (report,) = sync(reopen(watched.folder), [(upstream, Rules())], later).sources
    assert (report.time, report.succeeded, report.is_success) == (later, NOW, False)
    found = scraped(client_of(watched))
    assert found["cnrmirror_sync_timestamp_seconds", ("source", "here")] > AT
    assert found["cnrmirror_sync_success_timestamp_seconds", ("source", "here")] == AT
    assert found["cnrmirror_sync_exit_code", ("source", "here")] == 12


def test_a_memory_of_an_older_version_has_a_last_success_if_its_run_was_one(
    watched: Project,
) -> None:
    memory = remembered(watched, "here")
    assert memory is not None
    old = msgspec.structs.replace(memory.report, succeeded="")
    remember(watched, msgspec.structs.replace(memory, report=old))
    found = scraped(client_of(watched))
    assert found["cnrmirror_sync_success_timestamp_seconds", ("source", "here")] == AT


def test_a_run_says_how_many_requests_it_sent_and_how_long_it_took(tmp_path: Path) -> None:
    seconds = iter([10.0, 12.5])
    meter = Meter(lambda: next(seconds))

    class Asked:
        requests = 3

    meter.watch("here", Asked())  # type: ignore[arg-type]
    meter.watch("here", Asked())  # type: ignore[arg-type]
    upstream = Memory()
    upstream.name = "here"
    upstream.put("ns/a", "1.0.0")
    project = make(tmp_path / "mirror", "00000000-0000-4000-8000-000000000001")
    (report,) = sync(project, [(upstream, Rules())], NOW, meter=meter).sources
    assert (report.requests, report.seconds) == (6, 2.5)


# -- the recipes ----------------------------------------------------------------------------------

DOCS = Path(__file__).parents[1] / "docs"
BOARD = DOCS / "recipes/prometheus/dashboard.json"
NAME = re.compile(r"\bcnrmirror_[a-z0-9_]+")


def names_of(found: dict[Any, float]) -> set[str]:
    return {key[0] for key in found}


def expressions() -> list[str]:
    """What the panels of the dashboard ask for."""
    return [
        t["expr"] for panel in json.loads(BOARD.read_text())["panels"] for t in panel["targets"]
    ]


def test_every_number_is_described_in_the_guide_and_no_other(watched: Project) -> None:
    table = (DOCS / "watching.md").read_text()
    described = re.findall(r"^\| `(cnrmirror_\w+)` \|", table, re.M)
    assert set(described) == names_of(scraped(client_of(watched)))
    assert len(described) == len(set(described))


def test_every_name_in_an_alert_and_in_the_dashboard_exists_in_a_scrape(watched: Project) -> None:
    there = names_of(scraped(client_of(watched)))
    rules = yaml.safe_load((DOCS / "recipes/prometheus/alerts.yaml").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    variables = json.loads(BOARD.read_text())["templating"]["list"]
    asked += expressions() + [v["definition"] for v in variables if v["type"] == "query"]
    used = {name for text in asked for name in NAME.findall(text)}
    assert used <= there
    assert there <= {name for text in expressions() for name in NAME.findall(text)} | {
        "cnrmirror_sync_timestamp_seconds"
    }, "the dashboard shows the others"


def test_every_alert_is_in_the_guide() -> None:
    text = (DOCS / "watching.md").read_text()
    rules = yaml.safe_load((DOCS / "recipes/prometheus/alerts.yaml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    table = text.partition("| alert |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(Cnrmirror\w+)`", table)) == set(alerts)


def test_the_dashboard_is_in_order() -> None:
    board = json.loads(BOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert {panel["datasource"]["uid"]} | {
            target["datasource"]["uid"] for target in panel["targets"]
        } == {"${source}"}, "whoever imports it chooses"


# -- the form -------------------------------------------------------------------------------------


def test_the_form_is_that_of_the_specification() -> None:
    text = exposition([
        Family("a", "One\\two\nthree \"four\".", [Sample(1.5, {"b": '"\\\n', "c": "é"})]),
        Family("none", "Left out.", []),
        Family("d_total", "Five.", [Sample(0)], "counter"),
    ])  # fmt: skip
    assert text == (
        '# HELP a One\\\\two\\nthree "four".\n# TYPE a gauge\n'
        'a{b="\\"\\\\\\n",c="é"} 1.5\n'
        "# HELP d_total Five.\n# TYPE d_total counter\nd_total 0\n"
    )


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text()), st.text())
def test_any_label_and_help_is_read_back_as_it_was(labels: dict[str, str], told: str) -> None:
    text = exposition([Family("a", told, [Sample(7, labels)])])
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == labels and family.samples[0].value == 7
