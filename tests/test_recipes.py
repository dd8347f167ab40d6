"""The recipes of docs/automation.md, followed to the letter in temporary folders."""

from __future__ import annotations

import ctypes
import re
import shlex
import shutil
import signal
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cnrmirror.views.hosts import configurations
from tests.conftest import chart_bytes
from tests.interop.ports import free_port
from tests.machine import ROOT, Machine
from tests.recipes import RECIPES, online_keys, tools

_PINNED = re.compile(
    r"([a-z0-9-]+)==(\S+)(?: ; [^\\]+)? \\(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+\n"
)


def _pinned(name: str) -> dict[str, str]:
    """Package and version of a lock file in which nothing else stands."""
    text = (RECIPES / "container" / name).read_text()
    first, _, rest = text.partition("\n")
    assert first.startswith("# ") and _PINNED.sub("", rest) == ""
    return {match[1]: match[2] for match in _PINNED.finditer(rest)}


def test_the_lock_has_every_dependency_in_a_version_that_is_wanted_and_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = _pinned("requirements.txt")
    for wanted in map(Requirement, project["project"]["dependencies"]):
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), wanted
    assert set(project["build-system"]["requires"]) <= set(_pinned("build.txt"))
    with_cluster = _pinned("cluster.txt")
    assert locked.items() <= with_cluster.items()
    for wanted in map(Requirement, project["project"]["optional-dependencies"]["cluster"]):
        assert wanted.specifier.contains(with_cluster[canonicalize_name(wanted.name)]), wanted


class Host:
    """A machine with a mirror in a folder that stands for ``/var/lib/cnrmirror``."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.folder, self.data = folder, folder / "data"
        machine = Machine(folder)
        self.data.mkdir()
        machine("init", str(self.data / "mirror"))
        with (self.data / "mirror/mirror.yaml").open("a") as file:
            file.write(configuration)
        self.keys = online_keys(machine)
        self.tools = tools(folder / "tools")

    def here(self, text: str) -> str:
        text = text.replace("/usr/local/lib/cnrmirror/bin", str(self.tools))
        return text.replace("/var/lib/cnrmirror", str(self.data))

    @property
    def timestamp(self) -> bytes:
        return (self.data / "mirror/site/catalog/metadata/timestamp.json").read_bytes()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/nginx-1.0.0.tgz").write_bytes(chart_bytes("nginx", "1.0.0"))
    return Host(
        tmp_path / "host",
        "sources: {ours: {type: charts, folder: ../../../charts, namespace: charts}}\n"
        "publish: {web: {to: ../public}}\n",
    )


# systemd


def _without_writable_code() -> None:
    """As MemoryDenyWriteExecute does; Linux before 6.3 does not know it."""
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)


class Unit:
    """What a service starts, one after the other, as systemd reads it."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self.text = (RECIPES / "systemd" / f"cnrmirror-{name}.service").read_text()
        credentials = host.folder / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "keys").write_text(host.keys)
        lines = re.findall(r"^ExecStart=(.*)$", self.text, re.M)
        self.unexpanded = [host.here(line) for line in lines]
        self.commands = [line.replace("%d", str(credentials)) for line in self.unexpanded]
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(host.data), "LANG": "C.UTF-8"}

    def run(self) -> int:
        """The exit code of the first that fails, unless it may."""
        for command in self.commands:
            done = subprocess.run(shlex.split(command.removeprefix("-")), env=self.environment,
                                  cwd="/", preexec_fn=_without_writable_code)  # fmt: skip
            if done.returncode and not command.startswith("-"):
                return done.returncode
        return 0


def test_the_unit_that_refreshes_signs_again(host: Host) -> None:
    before = host.timestamp
    unit = Unit(host, "refresh")
    assert unit.run() == 0
    assert host.timestamp != before
    offered = re.findall(r"^#ExecStart=(.*publish.*)$", unit.text, re.M)
    assert [host.here(line) for line in offered] == [Unit(host, "sync").unexpanded[1]]


def test_the_unit_that_syncs_takes_in_publishes_and_ends_as_the_sync_did(host: Host) -> None:
    assert Unit(host, "sync").run() == 0
    pull = "cnr/api/v1/packages/charts/nginx/1.0.0/helm/pull"
    assert (host.data / "public" / pull).read_bytes() == chart_bytes("nginx", "1.0.0")
    (host.folder.parent / "charts/bad-1.0.0.tgz").write_bytes(b"no archive")
    (host.folder.parent / "charts/web-1.0.0.tgz").write_bytes(chart_bytes("web", "1.0.0"))
    assert Unit(host, "sync").run() == 14, "holes"
    assert (host.data / "public" / pull.replace("nginx", "web")).exists(), "what came is published"


def _get(url: str) -> int:
    """The status of an address of a server that may not listen yet."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except (ConnectionError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError):
                return error.code
            time.sleep(0.05)
    raise AssertionError(url)


def test_the_unit_that_serves_answers_and_ends_well_when_it_is_asked_to(host: Host) -> None:
    unit, port = Unit(host, "serve"), str(free_port())
    [command] = unit.commands
    words = shlex.split(command.replace("8080", port))
    server = subprocess.Popen(words, env=unit.environment, cwd="/", stderr=subprocess.DEVNULL,
                              preexec_fn=_without_writable_code)  # fmt: skip
    try:
        assert _get(f"http://127.0.0.1:{port}/healthz") == 200
    finally:
        server.send_signal(signal.SIGTERM)
    assert f"SuccessExitStatus={server.wait(30)}\n" in unit.text


# cron


class Crontab:
    """A file of /etc/cron.d, as cron reads it, for a user whose home is the host's folder."""

    def __init__(self, host: Host) -> None:
        lines = (RECIPES / "cron/cnrmirror").read_text().splitlines()
        lines = [host.here(line) for line in lines if line and not line.startswith("#")]
        given = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
        lines = lines[len(given) :]
        self.environment = {"HOME": str(host.data), "LOGNAME": "cnrmirror", **given}
        field = r"(?:\*|\d+)"
        times = re.compile(rf"({field} {field} {field} {field} {field}) (\S+) ([^%]*)")
        matches = [times.fullmatch(line) for line in lines]
        self.entries = {
            match[1]: match[3] for match in matches if match and match[2] == "cnrmirror"
        }
        assert len(self.entries) == len(lines) == 2
        folder = host.data / ".config/cnrmirror/keys"
        folder.mkdir(parents=True)
        [keys] = (host.folder / "config/cnrmirror/keys").iterdir()
        (folder / keys.name).symlink_to(keys)

    def mail(self, when: str) -> str:
        """What the user is sent after that line was run."""
        done = subprocess.run(
            [self.environment["SHELL"], "-c", self.entries[when]], env=self.environment, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.stdout


def test_the_lines_for_cron_sign_take_in_and_publish_and_send_no_mail(host: Host) -> None:
    crontab, before = Crontab(host), host.timestamp
    assert crontab.mail("17 4 * * *") == ""
    assert host.timestamp != before
    assert crontab.mail("23 * * * *") == ""
    assert (host.data / "public/cnr/api/v1/packages/charts/nginx/index.json").exists()


def test_the_lines_for_cron_send_the_exit_code_of_what_failed(host: Host) -> None:
    crontab = Crontab(host)
    (host.folder.parent / "charts/bad-1.0.0.tgz").write_bytes(b"no archive")
    assert "cnrmirror sync: exit code 14" in crontab.mail("23 * * * *")
    shutil.rmtree(host.data / "public")
    (host.data / "public").write_text("no folder")
    assert re.search("public.*; cnrmirror publish: exit code 8", crontab.mail("23 * * * *"), re.S)
    (host.data / ".config/cnrmirror/keys").rename(host.data / "away")
    assert "cnrmirror refresh: exit code 9" in crontab.mail("17 4 * * *")


# The guide


def test_the_guide_names_every_recipe_and_its_commands_name_files_that_are_there() -> None:
    guides = ("automation.md", "watching.md")
    guide = "".join((ROOT / "docs" / name).read_text() for name in guides)
    linked = {ROOT / "docs" / path for path in re.findall(r"\]\((recipes[^)]*)\)", guide)}
    linked.add(RECIPES / "install")
    for path in RECIPES.rglob("*"):
        if path.is_file():
            assert linked & {path, *path.parents} - {RECIPES}, path
    for path in re.findall(r"docs/recipes/[\w./*-]*\w", guide):
        assert list(ROOT.glob(path)) or list(ROOT.glob(f"{path}*")), path


def test_the_workflow_that_build_writes_is_the_recipe() -> None:
    written = configurations("/srv/site", "/srv/hosts", "127.0.0.1", 8080)["github-pages.yml"]
    assert written == (RECIPES / "github/pages.yml").read_text()
