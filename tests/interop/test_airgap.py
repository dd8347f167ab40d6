"""Sender and receiver without a network, by the steps of docs/airgap.md alone; then real nginx."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.interop.servers import need, serving
from tests.recorded import Recorded

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "airgap.md").read_text()
BIN = Path(sys.executable).parent


def steps(title: str) -> str:
    """The commands of the section of docs/airgap.md with this title."""
    section = DOCS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found, title
    return "".join(found)


class Machine:
    """A home of its own, and no network: not even loopback is up."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        folder.mkdir()

    def run(self, script: str, code: int = 0) -> str:
        need("unshare")
        command = ["unshare", "-rn", "bash", "-euo", "pipefail", "-c", script]
        settings = {
            "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(self.home),
            **{f"XDG_{kind}_HOME": str(self.home / kind) for kind in ("CONFIG", "STATE", "CACHE")},
        }  # fmt: skip
        done = subprocess.run(
            command, cwd=self.home, env=settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """The mirror of the recorded packages, made today, with keys at home with its machine."""
    recorded = Recorded("appr").mirror(tmp_path / "recorded")
    now = subprocess.run(["date", "-u", "+%Y-%m-%dT%H:%M:%S"], capture_output=True, text=True)
    assert recorded.signer is not None
    recorded.signer.sign_revision(recorded.head(), now.stdout.strip())
    return recorded.folder


@pytest.fixture
def sender(tmp_path: Path, mirror: Path) -> Machine:
    machine = Machine(tmp_path / "sender")
    shutil.copytree(mirror, machine.home / "mirror", symlinks=True)
    keys = Path(os.environ["XDG_CONFIG_HOME"]) / "cnrmirror"
    shutil.copytree(keys, machine.home / "CONFIG" / "cnrmirror")
    return machine


def carry(source: Machine, target: Machine, *names: str) -> None:
    """As on a disk with FAT: no links, no modes, no names that differ in case alone."""
    for name in names:
        if (source.home / name).is_dir():
            for path in (source.home / name).rglob("*"):
                assert not path.is_symlink()
                assert not re.search(r'["*:<>?\\|\x00-\x1f]|[. ]$', path.name), path
                assert len({p.name.lower() for p in path.parent.iterdir()}) == len(
                    list(path.parent.iterdir())
                )
        subprocess.run(
            ["cp", "-r", "--no-preserve=all", str(source.home / name), str(target.home)], check=True
        )


def answers(site: Path, folder: Path) -> dict[str, tuple[int, str, bytes]]:
    """What nginx answers to every recorded path."""
    found = {}
    with serving("nginx", site, folder) as base, requests.Session() as session:
        session.trust_env = False
        for answer in Recorded("appr").answers:
            for prefix in ("/cnr", ""):
                path = prefix + answer["path"]
                with session.get(base + path) as response:
                    kind = response.headers.get("Content-Type", "")
                    found[path] = (response.status_code, kind, response.content)
    return found


def test_the_documented_steps_carry_a_mirror_that_nginx_serves_as_the_senders(
    sender: Machine, tmp_path: Path
) -> None:
    receiver = Machine(tmp_path / "receiver")
    sender.run(steps("The sender"))
    carry(sender, receiver, "bundle", "root.json", "receipt.txt")
    receiver.run(steps("A receiver that follows"))
    carry(receiver, sender, "have.json")
    sender.run(f"cnrmirror -C mirror push --namespace news {ROOT}/sample-site/packages/nginx")
    sender.run(steps("The next time, at the sender"))
    carry(sender, receiver, "difference", "receipt-2.txt")
    receiver.run(steps("The next time, at the receiver"))
    assert "news/nginx" in receiver.run("cnrmirror -C copy list")
    one = answers(sender.home / "mirror" / "site", tmp_path / "nginx-a")
    other = answers(receiver.home / "copy" / "site", tmp_path / "nginx-b")
    assert one == other
    assert sum(status == 200 for status, _, _ in one.values()) > 50


def test_the_documented_steps_of_a_receiver_with_packages_of_its_own(
    sender: Machine, tmp_path: Path
) -> None:
    receiver = Machine(tmp_path / "receiver")
    sender.run(steps("The sender"))
    carry(sender, receiver, "bundle", "root.json", "receipt.txt")
    shutil.copytree(ROOT / "sample-site" / "packages" / "nginx", receiver.home / "my-chart")
    receiver.run(steps("A receiver with packages of its own"))
    listed = receiver.run("cnrmirror -C own list")
    assert "mine/nginx" in listed and len(listed.splitlines()) > 3


def test_the_documented_steps_for_volumes_and_for_one_made_again(
    sender: Machine, tmp_path: Path
) -> None:
    receiver = Machine(tmp_path / "receiver")
    sender.run(steps("The sender"))
    sender.run(steps("Volumes"))
    (damaged,) = sender.home.glob("volumes/volume-002.tar")
    whole = damaged.read_bytes()
    assert (sender.home / "again" / "volume-002.tar").read_bytes() == whole
    damaged.write_bytes(b"x" + whole[1:])
    carry(sender, receiver, "volumes", "again", "root.json")
    receiver.run("cnrmirror init copy --follow root.json")
    receiver.run("cnrmirror -C copy import volumes", code=6)
    (receiver.home / "volumes" / "volume-002.tar").unlink()
    receiver.run("cnrmirror -C copy import volumes again")
    assert "all well" in receiver.run("cnrmirror -C copy check")


def test_whoever_finds_the_disk_needs_only_tar_and_sha256sum(
    sender: Machine, tmp_path: Path
) -> None:
    finder = Machine(tmp_path / "finder")
    sender.run(steps("The sender"))
    carry(sender, finder, "bundle")
    text = (finder.home / "bundle" / "README.txt").read_text()
    after = text.partition("Without it:")[2]
    commands = [line[4:] for line in after.splitlines() if line.startswith("    ")]
    told = finder.run("cd bundle; which cnrmirror >/dev/null; " + "\n".join(commands))
    assert "volume-001.tar: OK" in told and "every file is what its name says" in told
    bad = next((finder.home / "bundle" / "catalog" / "blobs").rglob("*/*/*"))
    bad.write_bytes(b"x")
    finder.run("cd bundle; " + "\n".join(commands[2:]), code=1)


def test_a_copy_of_the_site_itself_is_taken_in(sender: Machine, tmp_path: Path) -> None:
    receiver = Machine(tmp_path / "receiver")
    sender.run(
        "cp -r --no-preserve=all -L mirror/site disk; cp disk/catalog/metadata/1.root.json ."
    )
    carry(sender, receiver, "disk", "1.root.json")
    receiver.run("cnrmirror init copy --follow 1.root.json; cnrmirror -C copy import disk")
    assert "all well" in receiver.run("cnrmirror -C copy check")
    with (sender.home / "mirror" / "mirror.yaml").open("a") as config:
        config.write(json.dumps({"publish": {"disk": {"to": "../linkless", "links": False}}})[1:-1])
    sender.run("cd mirror; cnrmirror publish disk")
    other = Machine(tmp_path / "other")
    carry(sender, other, "linkless", "1.root.json")
    other.run("cnrmirror init copy --follow 1.root.json; cnrmirror -C copy import linkless")
    one = json.loads(sender.run("cnrmirror -C mirror --json list"))
    assert json.loads(other.run("cnrmirror -C copy --json list")) == one
