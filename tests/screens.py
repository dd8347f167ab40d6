"""Pictures of the pages (``make screens``): each kind, narrow and wide, light and dark.

``python -m tests.screens FOLDER``; the picture in README.md is one of them. Needs Chromium and
playwright.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import threading
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.change import Removal, remove, set_channel
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.instant import Instant
from tests.conftest import tar_gz
from tests.interop.browser import chromium, visit
from tests.mirrors import make, reopen

WEB = "packages/charts/gateway/index.html"
SCREENS = {
    "home": "index.html", "namespace": "packages/charts/index.html", "package": WEB,
    "release": f"{WEB}#/2.4.0", "comparison": f"{WEB}#/2.3.1...2.4.0", "trust": "trust.html",
    "search": "index.html",
}  # fmt: skip
_OTHERS = {
    "archive-store": "Keeps what nobody may lose, on three disks",
    "certificate-issuer": "Issues certificates for services inside a cluster",
    "event-bus": "Brings messages from whoever says something to whoever wants to hear it",
    "image-registry": "A registry for container images",
    "job-queue": "Runs jobs one after the other, and again if they fail",
    "key-vault": "Holds keys and passwords, and says who asked for them",
    "log-collector": "Collects what programs write, and finds it again",
    "metrics-server": "Measures, keeps and draws numbers over time",
    "relational-database": "A database with tables, replicas and backups",
    "search-engine": "Finds words in documents",
}
_README = """# Gateway

The gateway stands in front of your services: it takes **https** from outside, looks at the address,
and hands each request to the service that answers it.

## Values

| value | default | meaning |
|---|---|---|
| `replicas` | 2 | how many run at once |
| `tls.secret` | | the secret that holds the certificate |
| `limits.requests` | 100 | requests a second of one address |

## Installing

```sh
helm install gateway charts/gateway --set tls.secret=example
```

See [the documentation](https://gateway.example.com) for routes and plugins.
"""


def _chart(folder: Path, name: str, release: str, about: str, **files: str) -> Path:
    text = f"apiVersion: v2\nname: {name}\nversion: {release}\nappVersion: '{release}'\n{about}"
    inside = {"Chart.yaml": text, **{key.replace("_", "."): data for key, data in files.items()}}
    inside["templates/deployment.yaml"] = f"kind: Deployment\nmetadata:\n  name: {name}\n" * 5
    path = folder / f"{name}-{release}.tgz"
    path.write_bytes(tar_gz({f"{name}/{key}": data.encode() for key, data in inside.items()}))
    return path


def _gateway(folder: Path, release: str, replicas: int) -> Path:
    about = (
        "description: Takes requests from outside, and hands them to the service that answers\n"
        "home: https://gateway.example.com\nsources: [https://code.example.com/gateway]\n"
        "kubeVersion: '>=1.24.0'\nkeywords: [http, proxy, tls]\n"
        "maintainers: [{name: The gateway team, email: team@example.com}]\n"
        "dependencies: [{name: key-vault, version: ~1.2, repository: 'https://charts.example.com'}]\n"
        "annotations:\n  artifacthub.io/license: Apache-2.0\n  artifacthub.io/changes: |\n"
        "    - kind: added\n      description: limits of requests for each address\n"
        "    - kind: fixed\n      description: certificates are read again when they change\n"
    )
    values = (
        f"# how many run at once\nreplicas: {replicas}\nimage:\n"
        f"  repository: registry.example.com/gateway\n  tag: '{release}'\ntls:\n  secret: ''\n"
    )
    more = "limits:\n  requests: 100\n" if release >= "2.4" else ""
    return _chart(folder, "gateway", release, about, README_md=_README, values_yaml=values + more)


def mirror(folder: Path) -> Project:
    """A mirror with something to show."""
    now = str(Instant.of(datetime.now(UTC).replace(microsecond=0)))
    project = make(folder / "m", "00000000-0000-4000-8000-000000000030", now)
    path = project.layout.configuration
    url = "https://packages.example.com"
    path.write_text(
        path.read_text().replace('url: ""', f"url: {url}")
        + "views: {look: {title: Charts of the platform team, logo: PT}}\n"
    )
    project = reopen(project.folder)
    charts = Override(namespace="charts")
    push(project, [_chart(folder, n, "1.2.0", f"description: {d}\n") for n, d in _OTHERS.items()],
         charts, now)  # fmt: skip
    for release, replicas in (("2.2.0", 1), ("2.3.0", 1), ("2.3.1", 1), ("2.4.0", 2)):
        push(project, [_gateway(folder, release, replicas)], charts, now)
    remove(project, Removal("charts/gateway", "2.3.0", None, "it lost certificates"), now)
    set_channel(project, "charts/gateway", "stable", "2.4.0", now)
    return project


def main(folder: Path) -> None:
    """Write ``KIND-WIDTH-SCHEME.png`` of each."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        site = mirror(Path(work)).site
        handler = functools.partial(_Quiet, directory=str(site))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _draw(f"http://localhost:{server.server_port}/", folder)
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _draw(base: str, folder: Path) -> None:
    with chromium() as browser:
        for width in (360, 1440):
            for scheme in ("light", "dark"):
                size = {"width": width, "height": 900 if width > 400 else 720}
                for kind, path in SCREENS.items():
                    with visit(browser, viewport=size, color_scheme=scheme) as seen:
                        seen.page.goto(base + path)
                        assert seen.kind == "good"
                        if "#" in path:
                            seen.drawn("#" + path.partition("#")[2])
                        if kind == "search":
                            seen.page.keyboard.press("/")
                            seen.page.keyboard.type("re")
                            seen.page.wait_for_selector("#hits [role=option]")
                        seen.page.screenshot(path=folder / f"{kind}-{width}-{scheme}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
