"""Pages in real browsers: found, read, checked, compared, by keyboard, and under attack."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.change import Removal, remove
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from tests.conftest import tar_gz
from tests.hostile_text import PAYLOADS
from tests.interop.browser import ORIGINS, Origin, axe, base_of, chromium, firefox, listening, visit
from tests.interop.servers import serving
from tests.mirrors import make

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.interop
NOW = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
NS = Override(namespace="charts")
WEB = "packages/charts/web/index.html"
WORDS = ("redis", "proxy", "mail", "queue", "search", "store")
KINDS = {
    "home": "index.html", "namespaces": "packages/index.html",
    "namespace": "packages/charts/index.html", "package": WEB, "trust": "trust.html",
    "revisions": "revisions/index.html", "release": f"{WEB}#/1.1.0",
    "comparison": f"{WEB}#/1.0.0...1.1.0", "hostile": "packages/charts/evil/index.html",
}  # fmt: skip


def chart(folder: Path, name: str, release: str, about: str, **files: bytes) -> Path:
    """A chart; ``files`` are those besides Chart.yaml, dots in their names written as ``_``."""
    text = f"apiVersion: v2\nname: {name}\nversion: {release}\n{about}\n"
    inside = {f"{name}/{key.replace('_', '.', 1)}": data for key, data in files.items()}
    path = folder / f"{name}-{release}.tgz"
    path.write_bytes(tar_gz({f"{name}/Chart.yaml": text.encode(), **inside}))
    return path


def web(folder: Path, release: str) -> Path:
    readme = (
        b"# Web\n\n"
        + b"A *server*. " * 200
        + b"\n\n```\ncode\n```\n\n| a | b |\n|-|-|\n| 1 | 2 |\n"
    )
    values = f"replicas: 1\n# the image\nimage: docker.io/library/web:{release}\n".encode()
    about = "description: A server of pages\nkeywords: [http]\nhome: https://web.example.com"
    return chart(folder, "web", release, about, README_md=readme, values_yaml=values)


def evil(folder: Path, canary: str) -> list[Path]:
    """A chart that tries everything in its texts and the names of its files, in two releases."""
    readme = "\n\n".join(PAYLOADS).replace("evil.invalid", canary.removeprefix("http://"))
    tag = f"<img src={canary}/x onerror=pwned=1>"
    about = (
        f"description: {json.dumps(tag)}\nkeywords: [{json.dumps(tag)}]\nhome: javascript:pwned=1\n"
        f"maintainers: [{{name: {json.dumps(tag)}, url: 'javascript:pwned=1'}}]\n"
        f"annotations: {{artifacthub.io/changes: {json.dumps('- ' + json.dumps(tag))}}}"
    )
    made = []
    for release in ("1.0.0", "1.1.0"):
        text = f"name: evil\nversion: {release}\n{about}\n"
        files = {
            "evil/Chart.yaml": text.encode(),
            "evil/README.md": readme.encode(),
            "evil/values.yaml": f"a: {tag}\nb: {release}\n<script>pwned=1</script>\n".encode(),
            f"evil/{'<script>pwned=1<' + 'x'}.svg": b"<svg onload='pwned=1'></svg>",
            "evil/__proto__": b"x" + release.encode(),
        }
        path = folder / f"evil-{release}.tgz"
        path.write_bytes(tar_gz(files))
        made.append(path)
    return made


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, canary: tuple[str, list[str]]) -> Project:
    folder = tmp_path_factory.mktemp("browsed")
    project = make(folder / "m", "00000000-0000-4000-8000-000000000020", NOW)
    for release in ("0.9.0", "1.0.0", "1.1.0"):
        push(project, [web(folder, release)], NS, NOW)
    push(project, evil(folder, canary[0]), NS, NOW)
    others = [
        chart(folder, f"{word}-{n}", "1.0.0", f"description: A {word} of many, number {n}")
        for word in WORDS
        for n in range(12)
    ]
    push(project, others, NS, NOW)
    remove(
        project, Removal("charts/web", "0.9.0", None, f"<b onclick=pwned=1>{canary[0]}</b>"), NOW
    )
    return project


@pytest.fixture(scope="module")
def server(mirror: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("nginx", mirror.site, tmp_path_factory.mktemp("nginx")) as url:
        yield url


@pytest.fixture(scope="module", params=[chromium, firefox])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with request.param() as found:
        yield found


@pytest.fixture(params=ORIGINS)
def base(request: pytest.FixtureRequest, mirror: Project, server: str) -> str:
    return base_of(request.param, server, mirror.site)


def test_a_package_is_found_opened_and_compared_by_keyboard_alone(
    browser: Browser, base: str, mirror: Project
) -> None:
    with visit(browser, viewport={"width": 1440, "height": 900}) as seen:
        page = seen.page
        page.goto(base + "index.html")
        page.keyboard.press("/")
        page.keyboard.type("server pag")
        page.wait_for_selector("#hits [role=option]")
        assert "charts/web" in page.inner_text("#hits [role=option]")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{base}{WEB}")
        assert seen.kind == ("good" if "localhost" in base else "cannot")
        if base.startswith("file:") and not seen.pick(mirror.site):
            assert seen.problems == []
            return
        page.wait_for_selector("#compare:not([hidden])")
        page.focus("#compare select[name=old]")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        seen.drawn("#/1.0.0...1.1.0")
        shown = page.inner_text("#view")
        assert "docker.io/library/web:1.0.0" in shown
        assert "docker.io/library/web:1.1.0" in shown
        assert page.evaluate("document.activeElement.tagName") == "H1"
        page.evaluate("history.back()")
        page.wait_for_selector("#static:not([hidden])")
        page.goto(f"{base}{WEB}#/1.1.0/values.yaml")
        if base.startswith("file:"):
            seen.pick(mirror.site)
        seen.drawn("#/1.1.0/values.yaml")
        assert "# the image" in page.inner_text("#view")
        assert seen.problems == []


def test_the_line_says_which_revision_is_fresh_and_until_when(
    browser: Browser, server: str, mirror: Project
) -> None:
    with visit(browser) as seen:
        requests: list[str] = []
        seen.page.on("request", lambda request: requests.append(request.url))
        seen.page.goto(f"{server.replace('127.0.0.1', 'localhost')}/{WEB}")
        assert seen.kind == "good"
        line = seen.page.inner_text("#check")
        assert f"revision {mirror.head().revision}" in line
        assert re.search(r"fresh until \d{4}-\d\d-\d\d", line)
        checked = [url.partition("/catalog/")[2] for url in requests if "/catalog/" in url]
        assert 6 <= len(set(checked)) <= len(checked) <= 10
        sizes = [(mirror.site / "catalog" / path).stat().st_size for path in checked]
        assert sum(sizes) <= 25_000


def test_the_command_is_copied(browser: Browser, server: str) -> None:
    with visit(browser, permissions=["clipboard-read", "clipboard-write"]) as seen:
        seen.page.goto(f"{server.replace('127.0.0.1', 'localhost')}/{WEB}")
        seen.page.click("[data-copy] >> nth=0")
        seen.page.wait_for_selector("text=Copied")
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert copied == seen.page.inner_text(".cmd pre >> nth=0").strip()


@pytest.mark.parametrize("browser", [chromium], indirect=True)
def test_without_script_everything_is_read_and_the_archives_can_be_had(
    browser: Browser, base: str
) -> None:
    with visit(browser, java_script_enabled=False) as seen:
        seen.page.goto(base + "index.html")
        seen.page.click("aside >> text=charts")
        seen.page.click("main >> text=web")
        text = seen.page.inner_text("main")
        assert len(text) > 2000
        assert all(word in text for word in ("A server", "1.1.0", "1.0.0", "Removed", "http"))
        assert seen.page.is_hidden(".search")
        assert seen.page.is_hidden("#compare")
        assert seen.page.locator("a[download]").count() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_keeps_the_rules_of_accessibility_wide_and_narrow_light_and_dark(
    browser: Browser, server: str, kind: str
) -> None:
    script = axe()
    for width in (360, 1440):
        for scheme in ("light", "dark"):
            size = {"width": width, "height": 900}
            settings = {"viewport": size, "color_scheme": scheme, "bypass_csp": True}
            with visit(browser, **settings) as seen:
                page = seen.page
                page.goto(f"{server.replace('127.0.0.1', 'localhost')}/{KINDS[kind]}")
                assert seen.kind == "good"
                if "#" in KINDS[kind]:
                    seen.drawn("#" + KINDS[kind].partition("#")[2])
                page.evaluate(script)
                found = page.evaluate("axe.run()")
                told = [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]]
                assert told == [], (width, scheme)
                wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wider <= 0, (width, scheme)
                assert seen.problems == []


@pytest.mark.parametrize("policy", ["with the policy", "without it"])
@pytest.mark.parametrize("origin", ["localhost", "disk"])
def test_nothing_that_a_package_says_runs_or_leaves(
    browser: Browser, mirror: Project, server: str, canary: tuple[str, list[str]],
    origin: Origin, policy: str, tmp_path: Path,
) -> None:  # fmt: skip
    base = base_of(origin, server, mirror.site)
    with visit(browser) as seen:
        page = seen.page
        if policy == "without it" and origin == "localhost":
            page.route("**/*.html", _without_policy)
        for kind in ("package", "release", "comparison"):
            path = KINDS[kind].replace("charts/web", "charts/evil")
            page.goto("about:blank")
            page.goto(base + path)
            assert seen.kind in ("good", "cannot")
            archives = origin != "disk" or seen.pick(mirror.site)
            if archives and "#" in path:
                seen.drawn("#" + path.partition("#")[2])
                for each in page.locator("#view .tree a").all():
                    each.click()
            page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = 1))")
            page.wait_for_timeout(100)
            assert page.evaluate("globalThis.pwned") == 0
        page.goto(f"{base}{KINDS['package']}#/<img src=x onerror=pwned=1>/..")
        page.wait_for_timeout(200)
        assert page.evaluate("globalThis.pwned") == 0
        assert [problem for problem in seen.problems if "policy" in problem] == []
    assert canary[1] == []


def _without_policy(route: object) -> None:
    answer = route.fetch()  # type: ignore[attr-defined]
    text = answer.text()
    assert "Content-Security-Policy" in text
    headers = {k: v for k, v in answer.headers.items() if k != "content-security-policy"}
    body = re.sub(r"<meta http-equiv=[^>]*>", "", text)
    route.fulfill(status=answer.status, headers=headers, body=body)  # type: ignore[attr-defined]


def test_the_same_text_does_run_where_nobody_cleans_it(
    browser: Browser, tmp_path: Path, canary: tuple[str, list[str]]
) -> None:
    """The control: what the test above looks for can be seen."""
    page = tmp_path / "raw.html"
    page.write_text("<!doctype html>\n" + f"<img src='{canary[0]}/x' onerror='pwned=1'>")
    before = len(canary[1])
    with visit(browser) as seen:
        seen.page.goto(page.as_uri())
        seen.page.wait_for_timeout(500)
        assert seen.page.evaluate("globalThis.pwned") == 1
    assert len(canary[1]) > before
    del canary[1][before:]


Change = Callable[[Path], None]


def _flip(pattern: str) -> Change:
    def change(site: Path) -> None:
        for path in site.glob(pattern):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.unlink()
            path.write_bytes(bytes(data))

    return change


def _gone(pattern: str) -> Change:
    def change(site: Path) -> None:
        for path in site.glob(pattern):
            path.unlink()

    return change


def _long(pattern: str) -> Change:
    def change(site: Path) -> None:
        for path in site.glob(pattern):
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data + b" " * 5_000_000)

    return change


FILES = {
    "root": "catalog/metadata/1.root.json", "timestamp": "catalog/metadata/timestamp.json",
    "snapshot": "catalog/metadata/*.snapshot.json", "targets": "catalog/metadata/*.targets.json",
    "catalog": "catalog/metadata/*.catalog.json", "catalog root": "catalog/targets/*",
    "nodes": "catalog/nodes/sha256/*/*",
}  # fmt: skip
ATTACKS: dict[str, tuple[str, Change]] = {
    **{f"a bit of {name}": ("refused", _flip(path)) for name, path in FILES.items()},
    **{f"no {name}": ("missing", _gone(path)) for name, path in FILES.items()},
    **{f"{name} too long": ("refused", _long(path)) for name, path in FILES.items()},
}


@pytest.fixture
def copied(mirror: Project, tmp_path: Path) -> Path:
    return Path(shutil.copytree(mirror.site, tmp_path / "site", symlinks=True))


@pytest.fixture
def copy_server(copied: Path, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "nginx").mkdir()
    with serving("nginx", copied, tmp_path / "nginx") as url:
        yield url.replace("127.0.0.1", "localhost")


def test_each_file_that_a_host_changes_is_told_with_the_right_word(
    browser: Browser, mirror: Project, copied: Path, copy_server: str
) -> None:
    for name, (word, change) in ATTACKS.items():
        shutil.rmtree(copied)
        shutil.copytree(mirror.site, copied, symlinks=True)
        change(copied)
        with visit(browser) as seen:
            seen.page.goto(f"{copy_server}/{WEB}")
            assert seen.kind == word, name
            assert seen.page.is_hidden("#compare"), name


def test_an_archive_that_a_host_changes_is_not_shown(
    browser: Browser, copied: Path, copy_server: str
) -> None:
    _flip("catalog/blobs/sha256/*/*")(copied)
    with visit(browser) as seen:
        seen.page.goto(f"{copy_server}/{WEB}#/1.1.0")
        seen.drawn("#/1.1.0")
        assert "cannot be shown" in seen.page.inner_text("#view")
        assert "replicas" not in seen.page.inner_text("#view")


@pytest.mark.parametrize("days", [8, 100, 400])
def test_what_nobody_signs_any_more_is_told_as_expired(
    browser: Browser, server: str, days: int
) -> None:
    with visit(browser) as seen:
        seen.page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=days))
        seen.page.goto(f"{server.replace('127.0.0.1', 'localhost')}/{WEB}")
        assert seen.kind == "expired"
