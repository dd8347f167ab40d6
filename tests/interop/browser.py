"""Real browsers on the pages of a mirror: by http from localhost and a name, and from a disk."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.interop.servers import need
from tests.loopback import on_loopback

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "mirror.test"
"""A name that the browser finds on this machine: no secure context, as in a closed network."""
ORIGINS = ("localhost", "name", "disk")
Origin = Literal["localhost", "name", "disk"]
_WATCH = """
globalThis.pwned = 0;
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, as long as the block lasts."""
    program = need("chromium")
    flags = [f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP evil.invalid 127.0.0.1"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with need_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@contextlib.contextmanager
def firefox() -> Iterator[Browser]:
    """Debian's Firefox, as long as the block lasts.

    It is driven by WebDriver BiDi, which can't give it a folder, nor forbid scripts.
    """
    program = need("firefox-esr")
    settings = {"network.dns.localDomains": f"{NAME},evil.invalid"}
    with need_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.firefox.launch(
            channel="moz-firefox", executable_path=program, firefox_user_prefs=settings
        )
        yield browser
        browser.close()


class Visit:
    """One page of a browser, and what went wrong in it.

    ``problems`` are messages of its console, errors of scripts, and what the policy forbade.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.add_init_script(_WATCH)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    @property
    def kind(self) -> str:
        """What the line about signatures says, once it says something."""
        self.page.wait_for_selector("#check[data-kind]")
        return self.page.get_attribute("#check", "data-kind") or ""

    def pick(self, site: Path) -> bool:
        """Give a page from a disk its mirror's folder; false for a Firefox, see ``firefox``."""
        browser = self.page.context.browser
        if browser is None or browser.browser_type.name != "chromium":
            return False
        self.page.set_input_files("#pick input", site)
        self.page.wait_for_selector("#check[data-kind=good]")
        return True

    def drawn(self, address: str) -> None:
        """Wait until a view is drawn."""
        self.page.wait_for_selector(f'#view[data-drawn="{address}"]')


@contextlib.contextmanager
def visit(browser: Browser, **settings: Any) -> Iterator[Visit]:
    """A new page, with no memory of others."""
    context = browser.new_context(**settings)
    context.set_default_timeout(10_000)
    yield Visit(context.new_page())
    context.close()


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A host that strangers' pages might call: its address, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        do_POST = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with on_loopback(Handler) as url:
        yield url, asked


def base_of(origin: Origin, url: str, site: Path) -> str:
    """Where a mirror is that a server on localhost shows at ``url``, by way of an origin."""
    port = url.rpartition(":")[2]
    return {
        "localhost": f"http://localhost:{port}/",
        "name": f"http://{NAME}:{port}/",
        "disk": f"{site.as_uri()}/",
    }[origin]


def axe() -> str:
    """The script of axe-core; skips without it, fails in CI."""
    package = Path(need_module("axe_playwright_python").__file__ or "").parent
    return (package / "axe.min.js").read_text()


def need_module(name: str) -> ModuleType:
    """A module that CI installs; without it, a test is skipped elsewhere."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing, and CI must not skip this test")
        pytest.skip(f"{name} is not installed")
