"""``make demo``: build a mirror of the sample packages, check it, serve it, pull from it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.interop.ports import free_port, wait_for

ROOT = Path(__file__).parents[1]
DEMO = ROOT / ".demo"


def run(*arguments: str) -> None:
    print("$ cnrmirror", *arguments, flush=True)
    subprocess.run(
        [sys.executable, "-m", "cnrmirror", *arguments], check=True, cwd=ROOT,
        stdin=subprocess.DEVNULL,  # nobody is there to be asked for a passphrase
    )  # fmt: skip


def main() -> None:
    shutil.rmtree(DEMO, ignore_errors=True)
    mirror = str(DEMO.relative_to(ROOT))
    run("init", mirror)
    run("-C", mirror, "push", "--namespace", "samples", "--channel", "stable",
        "sample-site/packages")  # fmt: skip
    run("-C", mirror, "list")
    run("-C", mirror, "build")
    run("-C", mirror, "check")
    port = free_port()
    print(f"$ cnrmirror -C {mirror} serve --port {port}", flush=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", "-C", mirror, "serve", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    try:
        wait_for(port)
        pull(f"http://127.0.0.1:{port}/cnr/api/v1/packages")
    finally:
        server.terminate()
        server.wait(10)


def pull(packages: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url: str) -> bytes:
        print("$ curl", url, flush=True)
        with opener.open(url, timeout=10) as response:
            data: bytes = response.read()
            return data

    for package in json.loads(get(packages)):
        name = package["name"]
        channel = json.loads(get(f"{packages}/{name}/channels/stable"))
        manifest = json.loads(get(f"{packages}/{name}/{channel['current']}/-"))
        archive = get(f"{packages}/{name}/{channel['current']}/-/pull")
        digest = manifest["content"]["digest"]
        assert archive == get(f"{packages}/{name}/blobs/sha256/{digest}")
        assert len(archive) == manifest["content"]["size"]
        print(f"  {name} {channel['current']}: {len(archive)} bytes, "
              f"sha256 {hashlib.sha256(archive).hexdigest()[:16]}…")  # fmt: skip
    print("the demo mirror is in .demo/: look at .demo/site and .demo/hosts")


if __name__ == "__main__":
    main()
