"""A command that is asked to end ends, whatever its threads wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import PackageDocument
from tests.conftest import chart_bytes
from tests.hostile import hosting
from tests.test_sync_faults import ROOT, command, configured, ran

PATIENCE = 30  # seconds: far more than it takes, far less than the host would
INDEX = "entries:\n" + "".join(
    f"  {name}: [{{name: {name}, version: 1.0.0, urls: [{name}-1.0.0.tgz]}}]\n"
    for name in ("fast", "slow")
)


class Slow:
    """Sends one byte of an archive, and no more until the test is over."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.name != "slow-1.0.0.tgz":
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"\x1f")
        handler.wfile.flush()
        self.asked.set()
        self.over.wait(10 * PATIENCE)
        return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sync_in_a_slow_download_ends_at_once_and_the_next_one_goes_on(
    project: Project, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.yaml").write_text(INDEX)
    for name in ("fast", "slow"):
        (web / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0"))
    with hosting(web) as host:
        slow = host.fault = Slow()
        configured(
            project,
            f"sources:\n  up: {{type: helm, url: '{host.url}', namespace: c, "
            "timeout_seconds: 300}\n",
        )
        running = subprocess.Popen(
            command(project, "sync"), cwd=ROOT, stderr=subprocess.PIPE, env=os.environ
        )
        try:
            assert slow.asked.wait(PATIENCE)
            running.send_signal(number)
            told = running.communicate(timeout=PATIENCE)[1]
        finally:
            running.kill()
            slow.over.set()
        assert running.returncode == code, told
        assert b"Traceback" not in told
        host.fault = None
        done, text = ran(project, "sync")
        assert done == 0, text
    assert check(project).findings == []
    assert {d.package for d in _documents(project)} == {"c/fast", "c/slow"}


def _documents(project: Project) -> list[PackageDocument]:
    catalog = project.catalog
    return [catalog.document(ref) for ref in catalog.packages(project.tree())]
