"""The site of the documents, in a browser: from a disk, on a phone, with its search."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.browser import chromium, need_module, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]
# What is right of the window, but for what can be scrolled to in a table or a block of code.
_CUT_OFF = """[...document.querySelectorAll("article *")].filter((one) =>
  one.getBoundingClientRect().right > innerWidth && !one.closest(".table-wrapper, pre")
).map((one) => one.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as ``make docs`` makes it: a warning is an error."""
    for name in ("sphinx", "furo", "myst_parser"):
        need_module(name)
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_no_page_is_wider_than_a_phone(site: Path, browser: Browser) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    with visit(browser, viewport={"width": 360, "height": 740}) as seen:
        for page in pages:
            seen.page.goto(page.as_uri())
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, page.name
            assert seen.page.evaluate(_CUT_OFF) == [], page.name
        assert seen.problems == []


def test_a_word_is_found_from_a_disk(site: Path, browser: Browser) -> None:
    with visit(browser, viewport={"width": 1440, "height": 900}) as seen:
        seen.page.goto((site / "index.html").as_uri())
        seen.page.fill("input[name=q]", "lease")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("ul.search >> text=lease on one object")
        seen.page.click("ul.search >> text=Publishing")
        seen.page.wait_for_selector("h1 >> text=Publishing")
        assert seen.problems == []


def test_the_first_page_asks_no_other_host_and_shows_its_picture(
    site: Path, browser: Browser
) -> None:
    with visit(browser) as seen:
        asked: list[str] = []
        seen.page.on("request", lambda request: asked.append(request.url))
        seen.page.goto((site / "index.html").as_uri())
        seen.page.wait_for_load_state("networkidle")
        assert asked and all(url.startswith(("file:", "data:")) for url in asked)
        assert seen.page.evaluate("document.querySelector('article img').naturalWidth") > 600


def test_every_command_has_its_place_on_the_page_of_commands(site: Path) -> None:
    text = (site / "commands.html").read_text()
    for anchor in ("init", "push", "channel-set", "publish", "root-propose", "refresh"):
        assert f'id="{anchor}"' in text
    assert "--offline-keys" in text and "\N{EN DASH}offline-keys" not in text


def test_links_between_the_pages_lead_to_pages_and_headings(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in re.findall(r'href="([^"]+)"', page.read_text()):
            path, _, anchor = link.partition("#")
            if "://" in path or path.startswith(("data:", "mailto:")):
                continue
            target = page.parent / path.partition("?")[0] if path else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(), f"{page.name}: {link}"
