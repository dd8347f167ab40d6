"""Metrics, alerts and the dashboard, held against real Prometheus."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cnrmirror.mirror.project import Project
from cnrmirror.sync.metrics import metrics
from tests.conftest import NOW
from tests.interop.ports import free_port
from tests.interop.servers import need, running
from tests.test_metrics import expressions, watched
from tests.test_serve import BASE, serving

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "docs/recipes/prometheus/alerts.yaml"
PATIENCE = 60
__all__ = ["watched"]


def promtool(*words: str, given: str = "") -> str:
    done = subprocess.run(
        [need("promtool"), *words], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_alerts_are_good_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", str(ALERTS))


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", str(ROOT / "tests/data/prometheus/alerts.test.yaml"))


def test_promtool_finds_nothing_wrong_with_a_scrape_or_a_file(watched: Project) -> None:
    with serving(watched, "--metrics") as address:
        text = requests.get(f"{address}/metrics", timeout=PATIENCE).text
    assert promtool("check", "metrics", given=text) == ""
    assert promtool("check", "metrics", given=metrics(watched, NOW)) == ""


@pytest.fixture
def prometheus(watched: Project, tmp_path: Path) -> Iterator[str]:
    """The address of Prometheus, which scrapes serve every second, and has the alerts."""
    port = free_port()
    with serving(watched, "--metrics") as address:
        requests.get(f"{address}{BASE}", timeout=PATIENCE)
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{ALERTS}]\n"
            "scrape_configs:\n"
            "  - job_name: cnrmirror\n"
            f"    static_configs: [{{targets: ['{address.removeprefix('http://')}']}}]\n"
        )
        command = [
            need("prometheus"), f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        with running(command, port, tmp_path):
            yield f"http://127.0.0.1:{port}/api/v1"


def asked(prometheus: str, expression: str) -> list[dict[str, Any]]:
    query = {"query": expression}
    said = requests.get(f"{prometheus}/query", query, timeout=PATIENCE)
    if said.status_code == 503:  # it has begun, and is not ready
        return []
    answer = said.json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def waited_for(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """The first result that is not empty. Raises TimeoutError."""
    end = time.monotonic() + PATIENCE
    while not (found := asked(prometheus, expression)):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing answers {expression}")
        time.sleep(0.2)
    return found


def test_prometheus_scrapes_serve_and_every_panel_of_the_dashboard_has_values(
    prometheus: str,
) -> None:
    (up,) = waited_for(prometheus, 'up{job="cnrmirror"} == 1')
    assert up["value"][1] == "1"
    for expression in expressions():
        text = expression.replace("$instance", ".*").replace("$__rate_interval", "30s")
        assert waited_for(prometheus, text), expression
    # The mirror of the tests was signed long ago, and one of its sources was never asked.
    waited_for(prometheus, 'ALERTS{alertname="CnrmirrorRefused",alertstate="firing"}')
    waited_for(prometheus, 'ALERTS{alertname="CnrmirrorNeverSynced",alertstate="pending"}')
    rules = requests.get(f"{prometheus}/rules", timeout=PATIENCE).json()["data"]["groups"]
    assert all(rule["health"] == "ok" for group in rules for rule in group["rules"])
