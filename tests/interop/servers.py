"""Real web servers on loopback, started with the generated configurations and ended after use."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnrmirror.views.hosts import configurations, listening
from tests.interop.ports import free_port, listens

MODULES = "/usr/lib/apache2/modules"


def need(program: str) -> str:
    """The path of a program; skips the test on a machine without it, fails in CI."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is missing, and CI must not skip this test")
        pytest.skip(f"{program} is not on this machine")
    return path


@contextmanager
def running(
    command: list[str],
    port: int,
    folder: Path,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[None]:
    """A server as long as the block lasts; it must listen within twenty seconds."""
    with (folder / "server.log").open("wb") as log:
        own = {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        settings = {**os.environ, **own, **(environment or {})}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=settings, cwd=cwd)
    try:
        deadline = time.monotonic() + 20
        while not listens(port, host):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((folder / "server.log").read_text())
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _nginx(folder: Path, listen: str) -> list[str]:
    main = folder / "main.conf"
    main.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;\n"
        f"fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;\n"
        f"include {folder}/nginx.conf; }}\n"
    )
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    return [need("nginx"), "-c", str(main), "-e", f"{folder}/error.log", *user]


def _caddy(folder: Path, listen: str) -> list[str]:
    return [need("caddy"), "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


def _apache(folder: Path, listen: str) -> list[str]:
    program = need("apache2")
    names = ["mpm_event", "authz_core", "rewrite", "headers", "mime", "dir", "env", "deflate"]
    modules = "".join(f"LoadModule {n}_module {MODULES}/mod_{n}.so\n" for n in names)
    main = folder / "main.conf"
    main.write_text(
        f"ServerRoot {folder}\nServerName localhost\nPidFile {folder}/apache.pid\n"
        f"ErrorLog {folder}/error.log\n{modules}Listen {listen}\n"
        f"TypesConfig /dev/null\nInclude {folder}/apache.conf\n"
    )
    return [program, "-f", str(main), "-D", "FOREGROUND"]


def _lighttpd(folder: Path, listen: str) -> list[str]:
    return [need("lighttpd"), "-D", "-f", f"{folder}/lighttpd.conf"]


SERVERS: dict[str, Callable[[Path, str], list[str]]] = {
    "nginx": _nginx,
    "caddy": _caddy,
    "apache": _apache,
    "lighttpd": _lighttpd,
}


@contextmanager
def serving(server: str, site: Path, folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """The site served by one of the four; gives the base URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    for name, text in configurations(str(site), str(folder), address, port).items():
        (folder / name).write_text(text)
    where = f"{listening(address)}:{port}"
    with running(SERVERS[server](folder, where), port, folder, host=address):
        yield f"http://{where}"
