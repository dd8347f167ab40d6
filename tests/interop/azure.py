"""Azurite (npm: azurite), Microsoft's own emulator of Azure Blob Storage, on loopback."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.interop.ports import free_port, wait_for

ACCOUNT, CONTAINER = "devstoreaccount1", "site"
# Written down in Azurite's documentation: the key of an account that is on no service.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azure(msgspec.Struct, frozen=True):
    """Where it listens."""

    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to write there."""
        return {"AZURE_STORAGE_ACCOUNT_KEY": KEY}


def program() -> str:
    """Azurite; skips the test on a machine without it, fails in CI."""
    folder = os.environ.get("CNRMIRROR_AZURITE", "")
    found = shutil.which("azurite-blob", path=f"{folder}/node_modules/.bin") or shutil.which(
        "azurite-blob"
    )
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("azurite is missing, and CI must not skip this test")
        pytest.skip("azurite is not on this machine")
    return found


@contextlib.contextmanager
def azure(folder: Path) -> Iterator[Azure]:
    """The service with one empty container that anybody may read."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program(), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(port, 60)
        _make(port, CONTAINER)
        yield Azure(port)
    finally:
        process.kill()
        process.wait()


def _make(port: int, container: str) -> None:
    """Make a container: obstore makes none. Signed with the account's key (Shared Key)."""
    headers = {
        "x-ms-blob-public-access": "blob",
        "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-08-06",
    }
    named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    path = f"/{ACCOUNT}/{container}"
    text = "PUT" + "\n" * 12 + named + f"/{ACCOUNT}{path}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", f"{path}?restype=container", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()[:300]
    connection.close()
