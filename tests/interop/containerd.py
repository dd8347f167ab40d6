"""containerd: a daemon of the tests' own, and its client, which fetches and unpacks nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.servers import need


class Containerd:
    """The client, and where it finds which host mirrors which."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self.socket = socket
        self._certs = folder / "certs.d"

    def mirror(self, host: str, url: str) -> None:
        """Whatever is asked of ``host`` is asked of ``url``."""
        folder = self._certs / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(
            f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
        )

    def fetch(self, reference: str) -> str:
        """Fetch all that a reference names."""
        return self._ctr("content", "fetch", "--all-platforms", "--hosts-dir", str(self._certs),
                         reference)  # fmt: skip

    def content(self, digest: str) -> str:
        """What lies in the daemon under a digest."""
        return self._ctr("content", "get", digest)

    def _ctr(self, *words: str) -> str:
        done = subprocess.run(
            [need("ctr"), "-a", self.socket, *words], capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode(errors="replace")


@contextmanager
def containerd(folder: Path) -> Iterator[Containerd]:
    """A daemon as long as the block lasts; it wants root."""
    program = need("containerd")
    if os.geteuid() != 0:
        pytest.skip("containerd wants root")
    config, socket = folder / "config.toml", folder / "c"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{socket}"\n[ttrpc]\n  address = "{folder}/t"\n'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "--config", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((folder / "log").read_text()[-3000:])
            time.sleep(0.05)
        yield Containerd(socket, folder)
    finally:
        process.terminate()
        process.wait(20)
