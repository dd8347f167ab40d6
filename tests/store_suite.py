"""What every mirror does whose site is in an object store, by the program's own commands."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import chart_bytes
from tests.places import files

COMMAND = [sys.executable, "-m", "cnrmirror"]


class Machine:
    """A machine that works on a mirror in a store: a folder, and a home of its own."""

    def __init__(self, folder: Path, store: str, environment: dict[str, str], keys: Path) -> None:
        self.folder, self.store = folder, store
        home = folder.with_name(f"{folder.name}-home")
        self.environment = {
            **os.environ, **environment,
            "XDG_CONFIG_HOME": str(keys), "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
        }  # fmt: skip

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; it must end with this code."""
        done = self.start(*arguments)
        text = done.communicate(timeout=300)[0]
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{text}"
        return text

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command under way."""
        return subprocess.Popen(
            [*COMMAND, "-C", str(self.folder), *arguments], env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def chart(self, name: str, release: str, text: str = "", size: int = 0) -> str:
        """The path of a chart's archive."""
        path = self.folder.with_name(f"{name}-{release}{text}.tgz")
        noise = random.Random(f"{name}{release}").randbytes(size // 2).hex()
        path.write_bytes(chart_bytes(name, release, text + noise))
        return str(path)

    def push(self, name: str, release: str, *more: str, code: int = 0) -> str:
        return self.run("push", "--namespace", "ns", *more, self.chart(name, release), code=code)

    def listed(self) -> dict[str, list[str]]:
        """The releases of every package."""
        found = json.loads(self.run("--json", "list"))
        return {package["name"]: package["releases"] for package in found}

    def revision(self) -> int:
        return int(json.loads(self.run("--json", "log"))[0]["revision"])

    @property
    def blobs(self) -> list[Path]:
        """The archives that are on this machine."""
        base = self.folder / ".state/scratch/store/catalog/blobs"
        return [path for path in base.rglob("*") if path.is_file()]

    def forget(self) -> None:
        """What a machine that is made anew has not."""
        shutil.rmtree(self.folder / ".state")


class StoreSuite:
    """A fixture ``place`` gives an empty place's address, and what commands need to know of it."""

    @pytest.fixture
    def one(self, place: tuple[str, dict[str, str]], tmp_path: Path) -> Machine:
        address, environment = place
        machine = Machine(tmp_path / "one", address, environment, tmp_path / "keys")
        machine.run("init", str(machine.folder), "--store", address)
        return machine

    @pytest.fixture
    def two(self, one: Machine, place: tuple[str, dict[str, str]], tmp_path: Path) -> Machine:
        address, environment = place
        machine = Machine(tmp_path / "two", address, environment, tmp_path / "keys")
        root = str(one.folder / "root.json")
        machine.run("init", str(machine.folder), "--store", address, "--root", root)
        return machine

    def test_what_one_machine_does_the_other_sees(self, one: Machine, two: Machine) -> None:
        one.push("web", "1.0.0", "--channel", "stable")
        assert two.listed() == {"ns/web": ["1.0.0"]}
        two.push("web", "1.1.0")
        two.run("channel", "set", "ns/web", "stable", "1.1.0")
        assert one.listed() == {"ns/web": ["1.1.0", "1.0.0"]}
        assert "stable" in one.run("show", "ns/web@1.1.0")
        assert one.revision() == two.revision() == 3
        assert "all well" in two.run("check")
        pinned = str(one.folder / "root.json")
        assert "all well" in one.run("check", "--from", one.store, "--root", pinned)

    def test_every_command_works_and_nothing_is_written_beside_the_state(
        self, one: Machine, tmp_path: Path
    ) -> None:
        before = {name: data for name, data in files(one.folder).items() if ".state" not in name}
        one.push("web", "1.0.0")
        one.push("db", "1.0.0")
        one.run("channel", "set", "ns/web", "stable", "1.0.0")
        one.run("remove", "ns/db@1.0.0", "--reason", "wrong")
        one.run("rollback", "2")
        assert set(one.listed()) == {"ns/web", "ns/db"}
        one.run("refresh")
        one.run("build")
        one.run("upgrade")
        one.run("diff", "1", "2")
        one.run("search", "web")
        one.run("cost", one.store)
        assert "all well" in one.run("check")
        out = tmp_path / "out"
        one.run("publish", f"{out}/")
        pinned = str(one.folder / "root.json")
        assert "all well" in one.run("check", "--from", str(out), "--root", pinned, "--strict")
        one.run("export", str(tmp_path / "bundle"))
        assert "all well" in one.run("check", "--from", str(tmp_path / "bundle"), "--root", pinned)
        one.run("gc", "--revisions", "1", "--grace-hours", "0")
        assert "all well" in one.run("check")
        after = {name: data for name, data in files(one.folder).items() if ".state" not in name}
        assert after == before

    def test_a_sync_brings_packages_into_the_store(self, one: Machine, tmp_path: Path) -> None:
        charts = tmp_path / "charts"
        charts.mkdir()
        for number in range(5):
            shutil.move(one.chart(f"c{number}", "1.0.0"), charts)
        with (one.folder / "mirror.yaml").open("a") as file:
            file.write(f"\nsources:\n  local: {{type: charts, folder: {charts}, namespace: ns}}\n")
        one.run("sync")
        assert len(one.listed()) == 5
        revision = one.revision()
        one.forget()
        one.run("sync")
        assert one.revision() == revision
        assert "all well" in one.run("check")

    def test_a_machine_that_is_made_anew_goes_on(self, one: Machine) -> None:
        one.push("web", "1.0.0")
        one.forget()
        assert "nothing is remembered" in one.push("web", "1.1.0")
        one.forget()
        one.run("channel", "set", "ns/web", "stable", "1.0.0")
        one.forget()
        one.run("refresh")
        assert one.listed() == {"ns/web": ["1.1.0", "1.0.0"]}
        assert "all well" in one.run("check")

    def test_machines_that_work_at_once_lose_nothing(self, one: Machine, two: Machine) -> None:
        names = [f"p{number}" for number in range(9)]
        for start in range(0, 9, 3):
            running = [
                machine.start("push", "--namespace", "ns", machine.chart(name, "1.0.0"))
                for machine, name in zip((one, one, two), names[start : start + 3], strict=True)
            ]
            for process in running:
                text = process.communicate(timeout=300)[0]
                assert process.returncode == 0, text
        assert sorted(one.listed()) == sorted(two.listed()) == [f"ns/{name}" for name in names]
        assert one.revision() == two.revision()
        assert "all well" in one.run("check")

    def test_another_content_of_a_release_is_refused_and_nothing_of_it_is_left(
        self, one: Machine, two: Machine
    ) -> None:
        one.push("web", "1.0.0")
        two.listed()
        other = two.chart("web", "1.0.0", text="other")
        assert "ns/web" in two.run("push", "--namespace", "ns", other, code=4)
        assert two.listed() == {"ns/web": ["1.0.0"]}
        assert two.revision() == one.revision() == 1
        two.push("db", "1.0.0")
        assert "all well" in one.run("check")

    def test_a_command_that_is_killed_loses_nothing_and_leaves_nothing_half(
        self, one: Machine
    ) -> None:
        chance = random.Random(7)
        one.push("web", "0.0.0")
        for number in range(1, 5):
            process = one.start("push", "--namespace", "ns", one.chart("web", f"{number}.0.0"))
            time.sleep(chance.uniform(0.2, 1.5))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if chance.random() < 0.5:
                one.forget()
            assert "0.0.0" in one.listed()["ns/web"]
        one.push("web", "9.0.0")
        assert {"0.0.0", "9.0.0"} <= set(one.listed()["ns/web"])
        one.run("build")
        assert "all well" in one.run("check")

    def test_an_older_state_of_the_store_is_refused_by_who_remembers(
        self, one: Machine, two: Machine
    ) -> None:
        key = one.folder.with_name("copy")
        one.push("web", "1.0.0")
        two.run("publish", f"{key}/")  # the state as it was
        one.push("web", "1.1.0")
        assert two.listed() == {"ns/web": ["1.1.0", "1.0.0"]}
        # What it took is gone, and what it accepted is not.
        shutil.rmtree(two.folder / ".state/scratch/store")
        timestamp = (key / "catalog/metadata/timestamp.json").read_bytes()
        self.put(one, "catalog/metadata/timestamp.json", timestamp)
        text = two.run("list", code=9)
        assert re.search("older|version 2 must be", text), text

    def put(self, machine: Machine, key: str, data: bytes) -> None:
        """Put other bytes into the store, as who has its rights and no keys."""
        raise NotImplementedError
