"""docs/clients.md: every line that is shown for a client that can be had is run, as it stands."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.helm import helm
from tests.interop.servers import need
from tests.interop.today import ROOT, Place

pytestmark = pytest.mark.interop
TEXT = (ROOT / "docs/clients.md").read_text()
HOST = "mirror.example.com"
# What a client needs to be told of a mirror that speaks plain HTTP.
_PLAIN = (
    (re.compile(r"^(helm .*oci://.*)$"), r"\1 --plain-http"),
    (re.compile(r"^skopeo (copy|sync) "), r"skopeo --insecure-policy \1 --src-tls-verify=false "),
    (re.compile(r"^skopeo (list-tags|inspect) "), r"skopeo \1 --tls-verify=false "),
)


def sections() -> dict[str, list[str]]:
    """The lines of each section's shell blocks."""
    found = {}
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.S | re.M):
        blocks = re.findall(r"^```sh\n(.*?)^```$", body, re.S | re.M)
        if blocks:
            found[title] = "".join(blocks).splitlines()
    return found


SECTIONS = sections()


def here(text: str, place: Place) -> str:
    """The line for the mirror of the test."""
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)
    return text.replace(f"https://{HOST}", place.url).replace(HOST, place.registry)


@pytest.mark.parametrize("place", ["nginx"], indirect=True)
@pytest.mark.parametrize("program", ["helm3", "helm4"])
@pytest.mark.parametrize("section", SECTIONS)
def test_every_line_of_the_page_does_what_it_says(
    place: Place, program: str, section: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/helm").symlink_to(helm(program).resolve())
    need("curl"), need("skopeo")
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for line in SECTIONS[section]:
        done = subprocess.run(
            ["bash", "-c", here(line, place)], cwd=tmp_path, env=environment, timeout=60,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}: {done.stderr}"


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
