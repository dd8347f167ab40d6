"""serve and appr 0.7.4 get the same deletions, and answer alike but for what docs/serve.md says."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from cnrmirror.mirror.check import check
from tests.conftest import tar_gz
from tests.interop.ports import free_port
from tests.interop.reference import reference_server
from tests.interop.servers import running
from tests.mirrors import make, reopen

pytestmark = pytest.mark.interop
API = "/cnr/api/v1/packages"
TOKEN = "the-token-of-this-test"
DOCS = Path(__file__).parents[2] / "docs" / "serve.md"
ARCHIVES = {name: tar_gz({"a/Chart.yaml": f"description: {name}\n".encode()}) for name in "ABC"}
DIGESTS = {n: hashlib.sha256(gzip.decompress(data)).hexdigest() for n, data in ARCHIVES.items()}
_TIME = re.compile(r'(?<=")20\d\d-\d\d-\d\dT[\d:.]+(?=")')

# What follows a ≠ is the row of the table "Deletes" in docs/serve.md; the other answers are equal.
STORIES = {
    "the-only-release": """
        push a 1.0.0 A
        POST a/channels/stable/1.0.0
        DELETE a/1.0.0/helm
        GET a                           ≠ package without releases
        GET a?media_type=helm           ≠ package without releases
        GET a/channels                  ≠ package without releases
        GET a/channels/stable           ≠ channel at a removed release
        GET a/1.0.0
        GET a/1.0.0/helm
        GET a/1.0.0/-
        GET a/default/helm
        GET a/1.0.0/helm/pull
        GET a/default/-/pull
        GET a/%3E0/helm/pull/json
        GET a/blobs/sha256/{A}          ≠ blob of a removed release
        GET a/blobs/sha256/{A}/json     ≠ blob of a removed release
        GET a/blobs/sha256/{B}
        list
        search
        DELETE a/1.0.0/helm
        POST a/channels/new/1.0.0
        DELETE a/channels/stable/1.0.0  ≠ channel at a removed release
        DELETE a/channels/stable        ≠ channel at a removed release
        DELETE a/channels/stable
    """,
    "one-of-two-media-types": """
        push a 1.0.0 A
        push a 1.0.0 B kpm
        POST a/channels/stable/1.0.0
        DELETE a/1.0.0/helm
        GET a
        GET a?media_type=helm
        GET a/channels
        GET a/1.0.0
        GET a/1.0.0/-
        GET a/1.0.0/kpm/pull
        GET a/1.0.0/helm/pull
        GET a/blobs/sha256/{A}          ≠ blob of a removed release
        GET a/blobs/sha256/{B}
        list
        DELETE a/1.0.0/helm
        DELETE a/1.0.0/-
    """,
    "the-current-release-of-a-channel": """
        push a 1.0.0 A
        push a 1.1.0 B
        POST a/channels/stable/1.0.0
        POST a/channels/stable/1.1.0
        DELETE a/1.1.0/helm
        GET a
        list
        GET a/1.1.0/helm
        GET a/1.0.0/helm
        GET a/default/helm/pull
        GET a/channels                  ≠ channel at a removed release
        push a 1.1.0 B
        GET a/1.1.0/helm                ≠ channel at a removed release
    """,
    "an-older-release-of-a-channel": """
        push a 1.0.0 A
        push a 1.1.0 B
        POST a/channels/stable/1.0.0
        POST a/channels/stable/1.1.0
        DELETE a/1.0.0/helm
        GET a/channels
        GET a/1.1.0/helm
        DELETE a/channels/stable/1.0.0
        push a 1.0.0 A
        GET a/channels
    """,
    "a-channel": """
        push a 1.0.0 A
        POST a/channels/stable/1.0.0
        DELETE a/channels/stable
        GET a/channels
        GET a/channels/stable
        GET a/1.0.0/helm
        DELETE a/channels/stable
        DELETE a/channels/stable/1.0.0
    """,
    "a-release-in-a-channel": """
        push a 1.0.0 A
        push a 1.1.0 B
        push a 1.2.0 C
        POST a/channels/stable/1.0.0
        POST a/channels/stable/1.2.0
        POST a/channels/stable/1.1.0
        DELETE a/channels/stable/1.0.0
        GET a/channels/stable           ≠ older release taken out of a channel
        DELETE a/channels/stable/1.0.0
        DELETE a/channels/stable/9.0.0
        DELETE a/channels/stable/1.1.0
        GET a/channels
        DELETE a/channels/stable/1.2.0
        GET a/channels
        DELETE a/channels/stable/1.2.0
    """,
    "what-was-never-there": """
        DELETE b/1.0.0/helm
        DELETE b/channels/stable
        DELETE b/channels/stable/1.0.0
        POST b/channels/stable/1.0.0
        push a 1.0.0 A
        DELETE a/9.0.0/helm
        DELETE a/1.0/helm
        DELETE a/default/helm
        DELETE a/1.0.0/kpm
        DELETE a/1.0.0/-
        DELETE a/channels/stable
        DELETE a/channels/stable/1.0.0
        POST a/channels/stable/9.0.0
        GET a
    """,
    "pushed-again": """
        push a 1.0.0 A
        push a 1.0.0 A
        DELETE a/1.0.0/helm
        push a 1.0.0 A
        push a 1.0.0 A force
        DELETE a/1.0.0/helm
        push a 1.0.0 B                  ≠ other bytes under a removed release's name
        push a 1.0.0 B force
        GET a
        GET a/1.0.0/helm/pull
        GET a/blobs/sha256/{A}          ≠ blob of a removed release
        push a 1.0.0 C
        push a 1.0.0 C force
        GET a
        list
    """,
}


class Registry(msgspec.Struct):
    """One of the two, and how it is asked."""

    url: str
    session: requests.Session

    def ask(self, namespace: str, call: str) -> tuple[int, Any]:
        """The status, and the JSON or the bytes of the answer; times in it are all one."""
        verb, *words = call.split()
        body = None
        if verb == "push":
            verb, path, body = "POST", f"/{namespace}/{words[0]}", pushed(*words[1:])
        elif verb in ("list", "search"):
            path = {"list": "?namespace=", "search": "/search?q="}[verb] + namespace
            verb = "GET"
        else:
            path = f"/{namespace}/{words[0].format(**DIGESTS)}"
        with self.session.request(verb, f"{self.url}{API}{path}", json=body, timeout=20) as answer:
            if answer.headers["Content-Type"] == "application/json":
                return answer.status_code, ordered(json.loads(_TIME.sub("T", answer.text)))
            return answer.status_code, answer.content

    def created(self, namespace: str) -> tuple[str, str]:
        """When the package was made, as the list says, and its highest release."""
        paths = (f"?namespace={namespace}", f"/{namespace}/a/default/helm")
        answers = [self.session.get(f"{self.url}{API}{p}", timeout=20).json() for p in paths]
        return answers[0][0]["created_at"], answers[1]["created_at"]


def pushed(release: str, archive: str, *more: str) -> dict[str, str]:
    blob = base64.b64encode(ARCHIVES[archive]).decode()
    media_type = "kpm" if "kpm" in more else "helm"
    force = "true" if "force" in more else "false"
    return {"release": release, "blob": blob, "media_type": media_type, "force": force}


def ordered(value: Any) -> Any:
    """A list without an order: the registry has that of a hash."""
    return sorted(value, key=json.dumps) if isinstance(value, list) else value


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Registry]]:
    """serve and appr, each on an empty datastore."""
    folder = tmp_path_factory.mktemp("deletes")
    project, port = make(folder / "mirror", "deletes"), free_port()
    command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "serve",
               "--accept-push", "--port", str(port)]  # fmt: skip
    settings = {"CNRMIRROR_TOKEN": TOKEN, "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    with (
        reference_server("appr", folder / "appr", free_port()) as appr,
        running(command, port, folder, environment=settings),
        requests.Session() as session,
    ):
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        yield Registry(f"http://127.0.0.1:{port}", session), Registry(appr, session)
    assert check(reopen(project.folder)).findings == []


@pytest.mark.parametrize("name", STORIES)
def test_after_a_deletion_both_answer_alike_but_for_what_is_meant(
    both: tuple[Registry, Registry], name: str
) -> None:
    wrong = []
    for line in STORIES[name].strip().splitlines():
        call, _, reason = (part.strip() for part in line.partition("≠"))
        ours, theirs = (registry.ask(name, call) for registry in both)
        if (ours != theirs) != bool(reason):
            wrong.append(f"{line.strip()}\n  serve {ours}\n  appr  {theirs}")
    assert "\n".join(wrong) == ""


@pytest.mark.parametrize("path", ["a", "a/1.0.0", "a/channels", "a/blobs/sha256/{A}"])
def test_what_no_deletion_is_for_is_not_allowed(both: tuple[Registry, Registry], path: str) -> None:
    both[0].ask("kept", "push a 1.0.0 A")
    assert [registry.ask("kept", f"DELETE {path}")[0] for registry in both] == [405, 405]


CREATED = {
    # calls: whether the time of the package, and of its highest release, is a new one: serve, appr
    "DELETE a/1.0.0/helm, push a 1.0.0 A": ((True, True), (True, True)),
    "push a 1.0.0 A force": ((False, False), (False, True)),
    "push a 1.0.0 B force": ((True, True), (False, True)),
    "push a 1.1.0 C": ((False, True), (False, True)),
    "DELETE a/1.0.0/helm": ((True, False), (False, False)),
}


def test_created_at_changes_when_the_documentation_says(both: tuple[Registry, Registry]) -> None:
    for registry in both:
        registry.ask("created", "push a 1.0.0 A")
    for calls, expected in CREATED.items():
        for registry, changes in zip(both, expected, strict=True):
            before = registry.created("created")
            for call in calls.split(", "):
                registry.ask("created", call)
            after = registry.created("created")
            found = tuple(a != b for a, b in zip(before, after, strict=True))
            assert found == changes, (calls, registry.url, before, after)


def test_each_difference_has_a_row_in_the_documentation() -> None:
    text = DOCS.read_text().partition("## Deletes\n")[2].partition("\n## ")[0]
    rows = {row.split("|")[1].strip() for row in text.splitlines() if row.startswith("|")}
    used = {line.partition("≠")[2].strip() for s in STORIES.values() for line in s.splitlines()}
    assert used - {""} <= rows
