"""Hosts before and beside a bucket: CloudFront's function under Node, rules of two static hosts."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus, urljoin, urlsplit

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.oci import OCI_INDEX, OCI_MANIFEST
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import JSON_TYPE, Resource
from cnrmirror.publish.open import DestinationMemory
from cnrmirror.publish.session import Session
from cnrmirror.views.layout import Form
from cnrmirror.views.pages import FEED_TYPE
from tests.places import WatchedObjects
from tests.recorded import NOW, Recorded, differs_on_purpose, is_dynamic, problems
from tests.scripts import need_node

FUNCTION = Path(__file__).parents[1] / "templates/hosts/cloudfront.js"
P = "/cnr/api/v1/packages"
HEX = "0" * 64
# A bucket has no empty list for a filter that nothing passes: that is a 404 there.
EMPTY = {"/api/v1/packages?namespace=nobody"}
# Nothing of Node's own is in reach of the function, as at the edge.
HARNESS = """
const vm = require("vm"), fs = require("fs");
const [code, urls] = JSON.parse(fs.readFileSync(0, "utf8"));
const context = vm.createContext({});
vm.runInContext('"use strict";' + code, context, {timeout: 1000});
const run = (request) => {
  context.text = JSON.stringify({request});
  return JSON.parse(vm.runInContext("JSON.stringify(handler(JSON.parse(text)))", context));
};
console.log(JSON.stringify(urls.map(run)));
"""


def at_the_edge(urls: Sequence[str]) -> list[dict[str, Any]]:
    """The requests that go on to the bucket. Nothing is decoded before the function sees it."""
    events = []
    for url in urls:
        path, _, query = url.partition("?")
        words: dict[str, Any] = {}
        for word in filter(None, query.split("&")):
            name, _, value = word.partition("=")
            found = words.setdefault(name, {"value": value})
            if found["value"] != value:
                found.setdefault("multiValue", [{"value": found["value"]}]).append({"value": value})
        events.append({"method": "GET", "uri": path, "querystring": words, "headers": {}})
    done = subprocess.run(
        [need_node(), "-e", HARNESS], input=json.dumps([FUNCTION.read_text(), events]),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    passed: list[dict[str, Any]] = json.loads(done.stdout)
    return passed


class Typed(WatchedObjects):
    """A bucket in memory that keeps what an object is served with."""

    def __init__(self, project: Project, objects: dict[str, bytes]) -> None:
        super().__init__(project.store, objects)
        self.headers: dict[str, dict[str, str]] = {}

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        self._note(resources)
        return super().create(resources, progress)

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        self._note(resources)
        super().put(resources, progress)

    def _note(self, resources: Sequence[Resource]) -> None:
        for resource in resources:
            found = {"Content-Type": resource.media_type}
            if resource.filename:
                found["Content-Disposition"] = resource.filename
            self.headers[resource.path] = found

    def answer(self, uri: str) -> tuple[int, dict[str, str], bytes]:
        """As S3 reads a path, and as a distribution with /cnr/404.json as its error page."""
        key = unquote_plus(uri).removeprefix("/")
        if key not in self.objects:
            return 404, {"Content-Type": JSON_TYPE}, self.objects["cnr/404.json"]
        return 200, self.headers.get(key, {"Content-Type": JSON_TYPE}), self.objects[key]


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("/", "/index.html"),
        ("/packages/", "/packages/index.html"),
        ("/packages/a/dots.in.name/", "/packages/a/dots.in.name/index.html"),
        ("/packages/a/b/index.html?x", "/packages/a/b/index.html"),
        ("/packages/index.html", "/packages/index.html"),
        ("/packages/a/index.html", "/packages/a/index.html"),
        ("/packages/-/a.html", "/packages/-/a.html"),
        ("/packages/a/-/b.html", "/packages/a/-/b.html"),
        ("/revisions/", "/revisions/index.html"),
        ("/search/s-a.js", "/search/s-a.js"),
        ("/version", "/cnr/version"),
        ("/cnr/version/", "/cnr/version"),
        ("/api/v1/packages/", P),
        (f"{P}/", P),
        ("/api/v1/packages?namespace=a", f"{P}-by/a/_.json"),
        (f"{P}/?media_type=helm", f"{P}-by/_/helm.json"),
        (f"{P}?media_type=helm&namespace=a", f"{P}-by/a/helm.json"),
        (f"{P}?namespace=&media_type=", P),
        (f"{P}?namespace", P),
        (f"{P}?namespace=../x", f"{P}-by/!/_.json"),
        (f"{P}?namespace=%2e%2e%2Fx", f"{P}-by/!/_.json"),
        (f"{P}?namespace=%zz", f"{P}-by/!/_.json"),
        (f"{P}?namespace=%61", f"{P}-by/a/_.json"),
        (f"{P}?namespace=a&namespace=b", f"{P}-by/a/_.json"),
        (f"{P}/a/b?media_type=helm", f"{P}/a/b/type-helm.json"),
        (f"{P}/a/b/?media_type=a/b", f"{P}/a/b/type-!.json"),
        (f"{P}/search?media_type=helm", f"{P}/search"),
        (f"{P}/a/b/1.0.0/helm?media_type=kpm", f"{P}/a/b/1.0.0/helm"),
        (f"{P}/a/b/1.0.0/helm/pull?format=json", f"{P}/a/b/1.0.0/helm/pull/json"),
        (f"{P}/a/b/1.0.0/helm/pull/?format=json", f"{P}/a/b/1.0.0/helm/pull/json"),
        (f"{P}/a/b/1.0.0/helm/pull?format=xml", f"{P}/a/b/1.0.0/helm/pull"),
        (f"{P}/a/pull?format=json", f"{P}/a/pull"),
        (f"{P}/a/b/pull?format=json", f"{P}/a/b/pull"),
        (f"{P}/a/b/blobs/sha256/{HEX}?format=json", f"{P}/a/b/blobs/sha256/{HEX}/json"),
        (f"{P}/a/b/1.0.0+x/helm", f"{P}/a/b/1.0.0%2Bx/helm"),
        (f"{P}/a/b/1.0.0%2Bx/helm", f"{P}/a/b/1.0.0%2Bx/helm"),
        (f"{P}/a/b/1.0.0+x/helm/pull?format=json", f"{P}/a/b/1.0.0%2Bx/helm/pull/json"),
        ("/catalog/metadata/timestamp.json?acl&versionId=1", "/catalog/metadata/timestamp.json"),
        (f"{P}?response-content-type=text/html", P),
        ("//", "/index.html"),
        ("/%", "/%"),
        ("/v2", "/v2/"),
        ("/v2/", "/v2/"),
        ("/v2/a/b/tags/list/", "/v2/a/b/tags/list"),
        (f"/v2/a/b/manifests/sha256:{HEX}?ns=example.com", f"/v2/a/b/manifests/sha256:{HEX}"),
        (f"/v2/a/b/blobs/sha256%3a{HEX}", f"/v2/a/b/blobs/sha256:{HEX}"),
        (f"/helm/a/b/{HEX}/b-1.0.0+x.tgz", f"/helm/a/b/{HEX}/b-1.0.0%2Bx.tgz"),
        ("/apis", "/apis"),
        ("/versions", "/versions"),
    ],
)
def test_a_request_goes_on_to_one_key_and_without_its_query(url: str, uri: str) -> None:
    (request,) = at_the_edge([url])
    assert (request["uri"], request["querystring"]) == (uri, {})


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/packages", "/packages/"),
        ("/packages/a", "/packages/a/"),
        ("/packages/a/dots.in.name?x=1", "/packages/a/dots.in.name/"),
        ("/revisions", "/revisions/"),
        ("/cnr", "/"),
        ("/cnr/", "/"),
    ],
)
def test_a_folder_of_pages_leads_to_the_one_with_its_slash(url: str, target: str) -> None:
    (answer,) = at_the_edge([url])
    assert answer["statusCode"] == 301
    assert urljoin(url, answer["headers"]["location"]["value"]) == target


def test_the_function_and_a_bucket_answer_as_the_reference_server(
    recorded: Recorded, tmp_path: Path
) -> None:
    need_node()
    project = recorded.mirror(tmp_path / recorded.dialect)
    objects: dict[str, bytes] = {}
    place = Typed(project, objects)
    target = PublishTo(to="s3://memory/x", grace_minutes=0, forms=["twins", "dash"])
    session = Session(project, target, DestinationMemory(project, target), place)
    session.publish(NOW)
    answers = [a for a in recorded.answers
               if not differs_on_purpose(a["path"]) and not is_dynamic(a)]  # fmt: skip
    wrong, compared = [], 0
    for prefix in ("/cnr", ""):
        requests = at_the_edge([prefix + a["path"] for a in answers])
        for answer, request in zip(answers, requests, strict=True):
            status, headers, body = place.answer(request["uri"])
            found = problems(answer, status, headers, body, static=True)
            if answer["path"] in EMPTY:
                assert status == 404
            elif found:
                wrong.append(f"{prefix}{answer['path']}: {found}")
            compared += 1
    assert "\n".join(wrong[:20]) == ""
    assert compared > 800


def test_the_function_and_a_bucket_are_a_helm_repository_and_an_oci_registry(
    tmp_path: Path,
) -> None:
    need_node()
    project = Recorded("appr").mirror(tmp_path / "mirror")
    place = Typed(project, {})
    target = PublishTo(to="s3://memory/x", grace_minutes=0)
    Session(project, target, DestinationMemory(project, target), place).publish(NOW)
    of_today = [f"/{key}" for key in place.headers if key.startswith(("v2/", "helm/"))]
    escaped = [key.replace(":", "%3A").replace("+", "%2B") for key in of_today]
    answers = [place.answer(request["uri"]) for request in at_the_edge(of_today + escaped)]
    assert len(of_today) > 100 and {status for status, _, _ in answers} == {200}
    assert answers[: len(of_today)] == answers[len(of_today) :]
    types = {
        key.partition("/manifests/")[0]: answer[1]["Content-Type"]
        for key, answer in zip(of_today, answers, strict=False)
        if "/manifests/1" in key
    }
    assert types["/v2/charts/nginx"] == types["/v2/charts/nginx/kpm"] == OCI_MANIFEST
    assert types["/v2/charts/nginx/formats"] == OCI_INDEX


def test_the_function_fits_into_the_edge() -> None:
    text = FUNCTION.read_text()
    assert len(text.encode()) < 10_000
    assert not any(word in text for word in ("require", "import ", "async ", "console", "fetch("))


# -- Netlify and Cloudflare Pages -------------------------------------------------------------


def _pattern(source: str) -> re.Pattern[str]:
    """``:name`` is one part of a path, ``*`` the rest of it."""
    text = re.escape(source).replace(r"\*", "(?P<splat>.*)")
    return re.compile(re.sub(r":([A-Za-z]\w*)", r"(?P<\1>[^/]+)", text))


class StaticHost:
    """A folder behind ``_redirects`` and ``_headers``, by the rules that both hosts document.

    The first rule that matches is followed, once. Netlify: a file that is there comes before a rule
    without ``!``; a rule with query parameters needs exactly these. Cloudflare: rules come first,
    know no queries and no 404; what is missing is answered with 404.html, or, if there is none,
    with index.html and 200.
    """

    def __init__(self, folder: Path, netlify: bool) -> None:
        self._folder = folder
        self._netlify = netlify
        self.rules: list[list[str]] = []
        self.headers: list[tuple[str, dict[str, str]]] = []
        for line in (folder / "_redirects").read_text().splitlines():
            self.rules.append(line.split())
        for line in (folder / "_headers").read_text().splitlines():
            if line.startswith("  "):
                name, value = line.strip().split(": ", 1)
                assert name not in self.headers[-1][1]
                self.headers[-1][1][name] = value
            else:
                self.headers.append((line, {}))

    def answer(self, url: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query))
        status, file = self._find(path, query)
        headers: dict[str, str] = {}
        for source, values in self.headers:
            if _pattern(source).fullmatch(path):
                assert not headers.keys() & values.keys(), f"{path}: a header from two rules"
                headers |= values
        return status, headers, file.read_bytes()

    def _find(self, path: str, query: dict[str, str]) -> tuple[int, Path]:
        there = self._file(path)
        for source, *wanted, target, code in self.rules:
            match = _pattern(source).fullmatch(path)
            names = dict(word.split("=", 1) for word in wanted)
            if not match or (self._netlify and names.keys() != query.keys()):
                continue
            if any(not v.startswith(":") and v != query[k] for k, v in names.items()):
                continue
            if self._netlify and there and not code.endswith("!"):
                break
            found = {k: v for k, v in match.groupdict().items() if v is not None}
            found |= {v[1:]: query[k] for k, v in names.items() if v.startswith(":")}
            for name, value in sorted(found.items(), reverse=True):
                target = target.replace(f":{name}", value)
            there, status = self._file(target), int(code.rstrip("!"))
            if there:
                return status, there
            break
        if there:
            return 200, there
        if self._netlify:
            return 404, self._folder / "cnr/404.json"
        missing = self._folder / "404.html"
        return (404, missing) if missing.exists() else (200, self._folder / "index.html")

    def _file(self, path: str) -> Path | None:
        file = self._folder / path.strip("/")
        file = file / "index.html" if file.is_dir() else file
        return file if file.is_file() else None


def given_up(path: str) -> bool:
    """What is answered only where somebody chose a form for it."""
    return "/-" in path or path.endswith(("/json", "format=json"))


@pytest.mark.parametrize("host", ["netlify", "cloudflare-pages"])
@pytest.mark.parametrize("forms", [[], ["twins", "dash"]])
def test_the_rules_for_a_static_host_answer_as_the_reference_server(
    recorded: Recorded, tmp_path: Path, host: str, forms: list[Form]
) -> None:
    project = recorded.mirror(tmp_path / recorded.dialect)
    target = PublishTo(to=str(tmp_path / "out"), host=host, grace_minutes=0, forms=forms)  # type: ignore[arg-type]
    with Session.open(project, target) as session:
        session.publish(NOW)
    place = StaticHost(tmp_path / "out", host == "netlify")
    wrong, compared = [], 0
    for prefix in ("/cnr", ""):
        for answer in recorded.answers:
            path = answer["path"]
            asks = "?" in path and (host != "netlify" or path in EMPTY)
            if differs_on_purpose(path) or is_dynamic(answer) or asks:
                continue
            status, headers, body = place.answer(prefix + path)
            if not forms and given_up(path):
                assert status == 404 or (host == "netlify" and "?" in path)
                continue
            if "sha256" in answer:
                headers["Content-Disposition"] = answer["content_disposition"]
            if status == 404 or path.endswith(("/", "?format=json")):
                headers["Content-Type"] = JSON_TYPE  # it cannot be told from the path
            found = problems(answer, status, headers, body, static=True)
            if found:
                wrong.append(f"{prefix}{path}: {found}")
            compared += 1
    assert "\n".join(wrong[:20]) == ""
    assert compared > (500 if forms else 300)


@pytest.mark.parametrize("host", ["netlify", "cloudflare-pages"])
def test_the_rules_for_a_static_host_leave_its_pages_alone(tmp_path: Path, host: str) -> None:
    project = Recorded("appr").mirror(tmp_path / "mirror")
    target = PublishTo(to=str(tmp_path / "out"), host=host, grace_minutes=0)  # type: ignore[arg-type]
    with Session.open(project, target) as session:
        session.publish(NOW)
    out = tmp_path / "out"
    place = StaticHost(out, host == "netlify")
    names = [str(page.relative_to(out)) for page in out.rglob("*.html")]
    pages = [f"/{n}" for n in names if n.startswith(("index.html", "trust", "packages", "rev"))]
    assert len(pages) > 10
    for page in (*pages, "/assets/pages.js", "/assets/pages.css", "/feed.xml"):
        for path in {page, page.removesuffix("index.html")}:
            status, headers, body = place.answer(path)
            assert (status, body) == (200, (out / page[1:]).read_bytes()), path
            framed = headers.get("Content-Security-Policy")
            assert framed == ("frame-ancestors 'none'" if page in pages else None), path
    assert place.answer("/feed.xml")[1]["Content-Type"] == FEED_TYPE
    assert place.answer("/packages/none/")[0] == 404


@pytest.mark.parametrize("host", ["netlify", "cloudflare-pages"])
def test_the_rules_keep_to_what_a_host_takes(project: Project, tmp_path: Path, host: str) -> None:
    target = PublishTo(to=str(tmp_path / "out"), host=host)  # type: ignore[arg-type]
    with Session.open(project, target) as session:
        session.publish(NOW)
    place = StaticHost(tmp_path / "out", host == "netlify")
    sources = [rule[0] for rule in place.rules]
    assert len(place.rules) <= 100 and len(place.headers) <= 100
    assert all(source.startswith("/") and source.count("*") <= 1 for source in sources)
    if host == "cloudflare-pages":
        assert {len(rule) for rule in place.rules} == {3}
        assert {rule[-1] for rule in place.rules} == {"200"}
        assert len(set(sources)) == len(sources)
    cached = place.answer("/catalog/metadata/timestamp.json")[1]["Cache-Control"]
    assert cached == "no-cache"
    assert place.answer(f"{P}/no/where")[0] == 404


@pytest.mark.parametrize("host", ["netlify", "cloudflare-pages"])
def test_a_static_host_is_a_helm_repository_with_files_for_archives(
    tmp_path: Path, host: str
) -> None:
    project = Recorded("appr").mirror(tmp_path / "mirror")
    target = PublishTo(to=str(tmp_path / "out"), host=host, grace_minutes=0)  # type: ignore[arg-type]
    with Session.open(project, target) as session:
        session.publish(NOW)
    place = StaticHost(tmp_path / "out", host == "netlify")
    for index in ("/helm/charts/index.yaml", "/helm/charts/nginx/index.yaml"):
        status, headers, body = place.answer(index)
        assert (status, headers["Content-Type"]) == (200, "application/yaml")
        for version in json.loads(body)["entries"]["nginx"]:
            url = posixpath.normpath(f"{posixpath.dirname(index)}/{version['urls'][0]}")
            archive = place.answer(url)[2]
            assert hashlib.sha256(archive).hexdigest() == version["digest"]
    assert not (tmp_path / "out/v2").exists()
