"""The recipes of docs/automation.md, and systemd, containers and forges for which they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.interop.containerfile import Image
from tests.interop.ports import free_port, wait_for
from tests.interop.programs import program, said
from tests.machine import ROOT
from tests.recipes import RECIPES, repository, tools
from tests.workflow import GitHub

pytestmark = pytest.mark.interop

UNITS = sorted((RECIPES / "systemd").iterdir())


# systemd


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, for a machine where cnrmirror is installed elsewhere."""
    found = []
    for unit in UNITS:
        text = unit.read_text().replace(
            "/usr/local/lib/cnrmirror/bin", str(tools(tmp_path / "tools"))
        )
        found.append(tmp_path / unit.name)
        found[-1].write_text(text)
    return found


def test_systemd_has_nothing_to_say_of_the_units(units: list[Path]) -> None:
    assert said(program("systemd-analyze", "apt install systemd"), "verify", *units) == ""


def test_systemd_finds_little_that_the_services_may_do(units: list[Path]) -> None:
    analyze = program("systemd-analyze", "apt install systemd")
    for unit in units:
        if unit.suffix == ".service":
            told = said(analyze, "security", "--offline=true", "--threshold=15", unit)
            assert re.search(r"Overall exposure level .*: [01]\.\d", told), told


def test_the_calendar_of_each_timer_is_one() -> None:
    analyze = program("systemd-analyze", "apt install systemd")
    for unit in UNITS:
        for when in re.findall(r"^OnCalendar=(.*)$", unit.read_text(), re.M):
            said(analyze, "calendar", when)


# the container


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """What the Containerfile's steps leave, where another user may look."""
    folder = Path(tempfile.mkdtemp(prefix="cnrmirror-image-"))
    folder.chmod(0o755)
    # Of the interpreter below the environment of the tests: nothing of that is to be seen.
    python = Path(sys.base_prefix) / "bin/python3"
    try:
        yield Image(RECIPES / "container/Containerfile", ROOT, python, folder)
    finally:
        shutil.rmtree(folder)


class Container:
    """The image's commands as its user, on a file system that is read-only."""

    def __init__(self, image: Image) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may become the user of the image")
        self.image = image
        shutil.rmtree(image.root / "data")
        (image.root / "data").mkdir()
        os.chown(image.root / "data", 65532, 65532)

    def words(self, *command: str, writable: tuple[str, ...] = ("data", "tmp")) -> list[str]:
        """How a command is started: everything else is read-only."""
        root = self.image.root
        binds = [f"mount --bind {root / name} {root / name}" for name in writable]
        mounts = " && ".join([*binds, "mount -o remount,bind,ro /", f"cd {self.image.work}"])
        user, group = self.image.user.split(":")
        become = f"exec setpriv --reuid {user} --regid {group} --clear-groups"
        inner = f'{mounts} && {become} --inh-caps=-all --no-new-privs "$@"'
        return ["unshare", "--mount", "sh", "-c", inner, "sh", *command]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            self.words(*command), env=self.image.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def test_the_image_serves_as_a_user_that_may_write_nowhere_else(image: Image) -> None:
    os.chmod(image.root / "tmp", 0o1777)
    container, port = Container(image), free_port()
    container.run(*image.entrypoint, "init", str(image.root / "data/mirror"))
    container.run(*image.entrypoint, "refresh")
    command = [*image.entrypoint, *image.command]
    assert command[-4:] == ["--port", "8080", "--access-log", "-"]
    command[command.index("8080")] = str(port)
    command[command.index("0.0.0.0")] = "127.0.0.1"  # nobody else is to ask the test
    before = {path for path in image.root.rglob("*") if "data" not in path.parts}
    server = subprocess.Popen(
        container.words(*command, writable=("tmp",)),
        env=image.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(port)
        check = [word.replace("8080", str(port)) for word in image.healthcheck]
        container.run(*check)
    finally:
        server.terminate()
        log = server.communicate(timeout=30)[1]
    assert server.returncode == 143 and '"GET /healthz HTTP/1.1" 200' in log
    assert {path for path in image.root.rglob("*") if "data" not in path.parts} == before
    with pytest.raises(AssertionError, match="refused"):
        container.run(*check)


def test_the_image_has_what_the_lock_file_says_and_nothing_else(image: Image) -> None:
    python = image.root / "usr/local/lib/cnrmirror/bin/python"
    frozen = said(python, "-m", "pip", "list", "--format=freeze")
    lock = (RECIPES / "container/requirements.txt").read_text()
    allowed = set(re.findall(r"^([a-z0-9-]+==[^ ]+)", lock, re.M))
    found = {line.lower().replace("_", "-") for line in frozen.splitlines()} - allowed
    assert {line.partition("==")[0] for line in found} - {"pip", "setuptools"} == {"cnrmirror"}


# forges


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("github-actions", "github/action.yml"),
        ("github-workflows", "github/pages.yml"),
        ("github-workflows", "github/s3.yml"),
        ("gitlab-ci", "gitlab/.gitlab-ci.yml"),
    ],
)
def test_a_forge_knows_every_word_of_its_file(schema: str, name: str) -> None:
    checker = program("check-jsonschema", "pip install check-jsonschema")
    said(checker, "--builtin-schema", f"vendor.{schema}", RECIPES / name)


def test_every_step_passes_shellcheck(tmp_path: Path) -> None:
    shellcheck = program("shellcheck", "apt install shellcheck")
    scripts = [RECIPES / "install", RECIPES / "container/lock"]
    found = []
    for name in ("github/action.yml", "github/pages.yml", "github/s3.yml"):
        text = yaml.safe_load((RECIPES / name).read_text())
        jobs = [text["runs"]] if "runs" in text else text["jobs"].values()
        found += [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    gitlab = yaml.safe_load((RECIPES / "gitlab/.gitlab-ci.yml").read_text())["registry"]
    found.append("\n".join(gitlab["before_script"] + gitlab["script"]))
    for number, script in enumerate(found):
        scripts.append(tmp_path / f"{number}.sh")
        scripts[-1].write_text(f"#!/bin/bash\n{script}\n")
    said(shellcheck, *scripts)


def test_the_action_installs_the_checkout_and_runs_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "github"
    _, keys = repository(folder, "publish: {pages: {to: ../public, host: github-pages}}\n")
    github = GitHub(folder, None, {"CNRMIRROR_KEYS": keys})
    github.environment = {name: os.environ[name] for name in ("PIP_CERT",) if name in os.environ}
    github.play(RECIPES / "github/pages.yml", "push")
    assert (github.public / "cnr/api/v1/packages/charts/nginx/1.0.0/helm/pull").exists()
