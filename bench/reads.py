"""Reads: nginx on the site beside the reference server, by ``wrk`` on two paths and a blob.

``python -m bench.reads [--seconds 3] [--runs 3]``. Needs nginx, wrk, the recorded packages and the
reference server (``.ci/run`` installs them). Both hold the same packages, have one worker process
and answer on loopback; prints medians of requests a second and their ratio.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import statistics
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from tests.interop.ports import free_port
from tests.interop.reference import reference_server
from tests.interop.servers import need, serving
from tests.recorded import CONFORMANCE, Recorded

PATHS = {
    "list of packages": "/cnr/api/v1/packages",
    "one manifest": "/cnr/api/v1/packages/charts/nginx/1.0.1/helm",
    "one archive": "/cnr/api/v1/packages/charts/nginx/1.0.1/helm/pull",
}


def push_all(url: str) -> None:
    """Every recorded package into the reference server, by its own API."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for push in json.loads((CONFORMANCE / "pushes.json").read_text())["packages"]:
        blob = base64.b64encode((CONFORMANCE / push["file"]).read_bytes()).decode()
        body = {"blob": blob, "release": push["release"], "media_type": push["media_type"],
                "metadata": push.get("metadata"), "package": push["package"]}  # fmt: skip
        request = urllib.request.Request(
            f"{url}/cnr/api/v1/packages/{push['package']}", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        opener.open(request, timeout=20).close()


def rate(url: str, seconds: int) -> float:
    """Requests a second over 16 connections, all of them answered with 200."""
    command = [need("wrk"), "-t1", "-c16", f"-d{seconds}s", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in text, text
    found = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    assert found, text
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("CI", "true")
    with tempfile.TemporaryDirectory() as work:
        mirror = Recorded("appr").mirror(Path(work) / "mirror")
        os.chmod(work, 0o755)
        port = free_port()
        with (
            serving("nginx", mirror.site, Path(work) / "nginx") as ours,
            reference_server("appr", Path(work) / "server", port) as theirs,
        ):
            push_all(theirs)
            for name, path in PATHS.items():
                pairs = [
                    (rate(ours + path, options.seconds), rate(theirs + path, options.seconds))
                    for _ in range(options.runs)
                ]
                left, right = (statistics.median(side) for side in zip(*pairs, strict=True))
                ratio = statistics.median([a / b for a, b in pairs])
                print(f"  {name:18} nginx {left:8.0f}/s   appr {right:8.0f}/s   ratio {ratio:.0f}")


if __name__ == "__main__":
    main()
