"""docs/clients.md and README.md: each line for a client that can be had is run, as it stands."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blocks import Block, blocks_of, fences
from tests.interop.containerd import containerd
from tests.interop.helm import helm
from tests.interop.reference import legacy
from tests.interop.servers import need
from tests.interop.today import ROOT, Place
from tests.stages import NOT_RUN, OF_CLIENTS

pytestmark = pytest.mark.interop
PAGE = "docs/clients.md"
TEXT = (ROOT / PAGE).read_text()
HOST = "mirror.example.com"
# What a client needs to be told of a mirror that speaks plain HTTP; appr takes it for localhost.
_PLAIN = (
    (re.compile(r"^(helm .*oci://.*)$"), r"\1 --plain-http"),
    (re.compile(r"^skopeo (copy|sync) "), r"skopeo --insecure-policy \1 --src-tls-verify=false "),
    (re.compile(r"^skopeo (list-tags|inspect) "), r"skopeo \1 --tls-verify=false "),
    (re.compile(rf"^(appr .*){HOST}"), r"\1LOCALHOST"),
)


def clients(block: Block) -> set[str]:
    """The programs with which its lines begin."""
    return {line.split()[0] for line in block.commands.splitlines() if line}


def cases() -> Iterator[tuple[Block, str]]:
    """Each block for a shell, with each helm that it is for."""
    there = [b for document, begin in OF_CLIENTS for b in blocks_of(document)
             if b.commands.startswith(begin)]  # fmt: skip
    for block in there + [b for b in blocks_of(PAGE) if b.language == "sh"]:
        # containerd has a test of its own, below.
        if (PAGE, block.first) not in NOT_RUN and clients(block) != {"ctr"}:
            for name in ("helm3", "helm4") if "helm" in clients(block) else ("",):
                yield block, name


def here(text: str, place: Place) -> str:
    """The line for the mirror of the test."""
    text = re.sub(r"\bHOST\b", HOST, text).replace(f"http://{HOST}", place.url)
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)
    text = text.replace("LOCALHOST", place.registry.replace("127.0.0.1", "localhost"))
    return text.replace(f"https://{HOST}", place.url).replace(HOST, place.registry)


@pytest.mark.parametrize("place", ["nginx"], indirect=True)
@pytest.mark.parametrize(("block", "name"), [*cases()], ids=lambda x: getattr(x, "first", x))
def test_every_line_of_a_block_does_what_it_says(
    place: Place, block: Block, name: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for client in clients(block):
        special = {"helm": lambda: helm(name), "appr": lambda: legacy("appr", "appr")}.get(client)
        program = special().resolve() if special else need(client)
        (tmp_path / "bin" / client).symlink_to(program)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for line in block.commands.splitlines():
        done = subprocess.run(
            ["bash", "-c", here(line, place)], cwd=tmp_path, env=environment, timeout=60,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{PAGE}: {line}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("place", ["nginx"], indirect=True)
def test_containerd_does_what_its_line_says_with_the_file_that_is_shown(
    place: Place, tmp_path: Path
) -> None:
    [line] = [b.commands for b in blocks_of(PAGE) if clients(b) == {"ctr"}]
    [hosts] = [fence.text for fence in fences(TEXT) if fence.language == "toml"]
    folder = tmp_path / "certs.d" / HOST
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(here(hosts, place))
    with containerd(tmp_path) as daemon:
        command = line.replace("/etc/containerd", str(tmp_path))
        command = command.replace("ctr ", f"'{need('ctr')}' -a '{daemon.socket}' ")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["nginx"], indirect=True)
def test_the_lines_for_python_do_what_they_say(place: Place, tmp_path: Path) -> None:
    if importlib.util.find_spec("oras") is None:
        assert not os.environ.get("CI"), "oras is missing, and CI must not skip this test"
        pytest.skip("oras is not on this machine: pip install oras")
    [block] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.S | re.M)
    code = block.replace(f'"{HOST}")', f'"{HOST}", insecure=True)', 1).replace(HOST, place.registry)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kpm/charts_nginx_1.2.0.tar.gz").is_file()


@pytest.mark.parametrize("place", ["nginx"], indirect=True)
@pytest.mark.parametrize("program", ["helm3", "helm4"])
def test_the_dependencies_of_the_page_are_found(place: Place, program: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(dependencies:.*?)^```$", TEXT, re.S | re.M)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        chart = tmp_path / f"above{number}"
        chart.mkdir()
        (chart / "Chart.yaml").write_text(
            f"apiVersion: v2\nname: above\nversion: 1.0.0\n{here(block, place)}"
        )
        plain = ["--plain-http"] if "oci://" in block else []
        done = subprocess.run(
            [helm(program), "dependency", "update", *plain, chart], capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert [p.name for p in (chart / "charts").iterdir()] == ["nginx-1.0.1.tgz"]
