"""report --html in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.sync.page import report_page
from tests.conftest import NOW
from tests.interop.browser import axe, chromium, firefox, visit
from tests.test_metrics import watched
from tests.test_report_page import HIDDEN, HOSTILE, hostile

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.interop
__all__ = ["watched"]


@pytest.fixture(scope="module", params=[chromium, firefox])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with request.param() as found:
        yield found


def written(project: Project, folder: Path, text: str) -> str:
    path = folder / "report.html"
    path.write_text(report_page(project, [hostile(text)], NOW), encoding="utf-8")
    return path.as_uri()


def test_nothing_that_an_upstream_wrote_runs_loads_or_hides_the_page(
    browser: Browser, watched: Project, tmp_path: Path
) -> None:
    for text in (*HOSTILE, HIDDEN):
        with visit(browser) as seen:
            address = written(watched, tmp_path, text)
            seen.page.goto(address)
            assert seen.page.url == address
            assert seen.page.evaluate("globalThis.pwned") == 0
            assert seen.page.is_visible("h1") and seen.page.is_visible("footer")
            shown = text[:7] if text != HIDDEN else r"a\u202egnp.exe\u2066\u200b\x00"
            assert seen.page.locator("bdi", has_text=shown).count() > 0
            assert seen.problems == [], text


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_wide_and_narrow_light_and_dark(
    browser: Browser, watched: Project, tmp_path: Path, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 900}
    script = axe()
    with visit(browser, viewport=size, color_scheme=scheme, bypass_csp=True) as seen:
        page = seen.page
        page.goto(written(watched, tmp_path, "https://registry.example.com/" + "a" * 300))
        page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0
        if browser.browser_type.name == "chromium":  # Firefox cannot be told a scheme
            dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert dark == ("rgb(18, 22, 28)" if scheme == "dark" else "rgb(255, 255, 255)")
        page.evaluate(script)
        found = page.evaluate("axe.run()")
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []
