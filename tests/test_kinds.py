"""A kind of source is one file: settings, check, open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.sources import charts
from cnrmirror.sources.kinds import KINDS, kind_of

ROOT = Path(__file__).parents[1]
WITH_THE_TOY = (
    "from cnrmirror.sources import kinds\n"
    "from tests.toy_kind import KIND\n"
    "kinds.KINDS += (KIND,)\n"
    "from cnrmirror.cli import main\n"
    "main()\n"
)


def ran(folder: Path, *words: str) -> tuple[int, str, str]:
    """A command of a program that knows the toy, too."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_THE_TOY, "-C", str(folder), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_new_kind_is_one_file(project: Project) -> None:
    path = project.folder / "mirror.yaml"
    with path.open("a") as stream:
        stream.write("sources:\n  up:\n    type: toy\n    text: a-1.0.0 b-2.0.0\n"
                     "    namespace: ns\n")  # fmt: skip
    assert ran(project.folder, "config", "check")[0] == 0
    code, out, err = ran(project.folder, "--json", "sync")
    assert code == 0, err
    assert json.loads(out)["sources"][0]["fetched"] == 2
    assert project.document("ns/b").versions() == ["2.0.0"]
    assert ran(project.folder, "--json", "sync")[0] == 0
    assert '"Toy"' in ran(project.folder, "config", "schema")[1]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [("text: a-1.0.0\n    namespace: a/b\n", 6, "namespace"),
     ("text: ''\n    namespace: ns\n", 5, "text"), ("txt: x\n    namespace: ns\n", 5, "txt"),
     ("text: x\n    namespace: ns\n    filter: {packages: ['/(/']}\n", 7, "packages")],
)  # fmt: skip
def test_what_is_wrong_with_a_new_kind_is_named_like_everything_else(
    project: Project, text: str, line: int, key: str
) -> None:
    path = project.folder / "mirror.yaml"
    path.write_text(f"id: x\nsources:\n  up:\n    type: toy\n    {text}")
    code, _, err = ran(project.folder, "list")
    assert code == 3 and f"mirror.yaml:{line}: " in err and key in err


def test_without_its_file_nobody_knows_the_kind(project: Project) -> None:
    path = project.folder / "mirror.yaml"
    path.write_text("id: x\nsources:\n  up: {type: toy, text: x, namespace: ns}\n")
    done = subprocess.run(
        [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "list"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "toy" in done.stderr


def test_settings_know_their_kind() -> None:
    tags = [kind.settings.__struct_config__.tag for kind in KINDS]
    assert tags == ["registry", "helm", "oci", "mirror", "charts", "keyvalue", "backup"]
    chart = charts.Charts(folder="x", namespace="ns")
    assert kind_of(chart) is charts.KIND


def test_reading_mirror_yaml_loads_no_network_library() -> None:
    program = (
        "import sys, cnrmirror.mirror.config\n"
        "print(sorted({'requests', 'urllib3', 'tuf', 'boto3', 'redis'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
