"""The exit codes that the help of a command names are those that it ends with."""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import click
import pytest

from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS
from cnrmirror.cli.exits import exits, named
from tests.conftest import chart_bytes
from tests.hostile import hosting
from tests.interop.ports import free_port
from tests.machine import ROOT, Machine
from tests.test_manners import every_command

M = ("-C", "m")
# What they mean is the same for every command: a help names them where they mean more.
OF_ALL = {0, 1, 2, 3, 5, 6, 7, 8, 17}
READ = ("--root", "root.json", "--from")
SIGNING = {
    "push": "push --namespace ns a-1.1.0.tgz",
    "channel set": "channel set ns/a edge 1.0.0",
    "channel remove": "channel remove ns/a stable",
    "remove": "remove ns/a@1.0.0",
    "rollback": "rollback 1",
    "build": "build --facts",
    "upgrade": "upgrade",
    "refresh": "refresh",
    "keys rotate": "keys rotate publish --offline-keys OFFLINE",
    "keys renew": "keys renew --offline-keys OFFLINE",
}
READING = {
    "list": "list --root ROOT --from PLACE",
    "show": "show ns/a --root ROOT --from PLACE",
    "search": "search a --root ROOT --from PLACE",
    "images": "images --root ROOT --from PLACE",
    "pull": "pull ns/a --dest out --root ROOT --from PLACE",
    "check": "check --root ROOT --from PLACE",
    "import": "-C receiver import --root ROOT PLACE",
    "adopt": "adopt PLACE NEW --root ROOT",
}
# The others read as the first one does; a host that is not there is asked several times, and that
# takes its time.
UNREACHED = {"list", "check"}
# Everything else: what is run, and the command and the code that it ends with.
CASES = [
    ("init m", "init", 3),
    ("init --follow mirror.yaml new", "init", 9),
    ("init new --store ./nothing --root root.json", "init", 5),
    ("adopt m/site m --root root.json", "adopt", 3),
    ("-C m push --namespace ns bad.tgz", "push", 3),
    ("-C m push --as ns/a --release 1.0.0 a-1.1.0.tgz", "push", 4),
    ("-C m push --namespace ns --keep-going bad.tgz a-1.0.0.tgz", "push", 14),
    ("-C m channel list ns/none", "channel list", 5),
    ("-C m channel set ns/none edge 1.0.0", "channel set", 5),
    ("-C m channel remove ns/none edge", "channel remove", 5),
    ("-C m remove ns/none@1.0.0", "remove", 5),
    ("-C m rollback 99", "rollback", 5),
    ("-C m show ns/none", "show", 5),
    ("-C m images ns/none", "images", 5),
    ("-C m diff 99", "diff", 5),
    ("-C m report", "report", 5),
    ("-C m have", "have", 5),
    ("pull ns/none --root root.json --from m/site", "pull", 5),
    ("pull ns/a --max-members 1 --root root.json --from m/site", "pull", 3),
    ("pull ns/a --dest taken --root root.json --from m/site", "pull", 4),
    ("-C other export taken", "export", 4),
    ("-C broken config check", "config check", 3),
    ("-C broken config show", "config show", 3),
    ("-C m root propose --out root.json", "root propose", 3),
    ("root sign root.json --offline-keys OFFLINE", "root sign", 3),
    ("root status root.json", "root status", 3),
    ("-C m root publish root.json", "root publish", 3),
    ("-C damaged check", "check", 6),
    ("-C m check --fresh-for 900d", "check", 18),
    ("-C m publish ./place --audit", "publish", 6),
]  # fmt: skip
# What the stories below see.
STORIES = {
    ("init", 10), ("init", 12), ("init", 16), ("gc", 9), ("check", 19), ("import", 4),
    ("import", 14), ("root publish", 4),
    ("root publish", 10), *((command, code) for command in ("sync", "report")
                            for code in (4, 9, 11, 12, 15, 16)),
}  # fmt: skip
# What other tests tell, which call no command, or another one's parts.
ELSEWHERE = {
    (
        "check",
        20,
    ): "test_pages.py::test_an_auditor_makes_every_page_again_and_finds_each_that_differs",
    ("export", 5): "test_airgap.py::test_a_bundle_of_a_forked_history_is_refused",
    (
        "import",
        6,
    ): "test_airgap.py::test_every_volume_truncated_missing_swapped_or_foreign_is_named",
    (
        "publish",
        4,
    ): "test_publish.py::test_what_both_changed_differently_is_a_conflict_and_nothing_is_done",
    ("publish", 5): "test_cloud.py::test_a_bucket_that_is_not_there_is_said_so",
    ("publish", 7): "test_publish.py::test_somebody_who_publishes_is_waited_for_but_not_for_ever",
    ("publish", 12): "test_bucket.py::test_what_cannot_get_better_is_not_tried_again",
    ("publish", 16): "test_bucket.py::test_what_cannot_get_better_is_not_tried_again",
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A mirror, its copies that lack something, and others."""
    machine = Machine(tmp_path_factory.mktemp("codes") / "machine")
    folder = machine.folder
    for release in ("1.0.0", "1.1.0"):
        (folder / f"a-{release}.tgz").write_bytes(chart_bytes("a", release))
    (folder / "bad.tgz").write_bytes(b"no archive")
    (folder / "mirror.yaml").write_text("{}")
    machine("init", "m")
    (folder / "offline").symlink_to(next((folder / "config").rglob("offline")))
    machine("init", "receiver")
    machine("init", "other")
    machine(*M, "push", "--namespace", "ns", "a-1.0.0.tgz")
    machine(*M, "channel", "set", "ns/a", "stable", "1.0.0")
    machine(*M, "publish", "./place")
    machine(*M, "export", "taken")
    for name, project in (("root", "m"), ("wrong", "other")):
        file = folder / project / "site/catalog/metadata/1.root.json"
        (folder / f"{name}.json").write_bytes(file.read_bytes())
    (folder / "taken/ns_a_1.0.0").mkdir()
    shutil.copytree(folder / "m", folder / "damaged", symlinks=True)
    shutil.copytree(folder / "m", folder / "broken", symlinks=True)
    (folder / "broken/mirror.yaml").write_text("id: x\nviews: {dialect: x}\n")
    shutil.copytree(folder / "m/site", folder / "holey", symlinks=True)
    for path in (folder / "holey/catalog/targets").rglob("*.json"):
        path.unlink()
    next(p for p in (folder / "damaged/site/catalog/blobs").rglob("*") if p.is_file()).unlink()
    (folder / "place/index.html").unlink()
    return machine


def words(machine: Machine, text: str, **placed: str) -> list[str]:
    """A line of the tables above, as arguments."""
    placed["OFFLINE"] = str(machine.folder / "offline")
    return [placed.get(word, word) for word in text.split()]


@pytest.mark.parametrize("name", SIGNING)
def test_who_has_no_key_or_a_clock_that_is_off_signs_nothing(machine: Machine, name: str) -> None:
    copy = name.replace(" ", "-")
    shutil.copytree(machine.folder / "m", machine.folder / copy, symlinks=True)
    command = ["-C", copy, *words(machine, SIGNING[name])]
    nowhere = str(machine.folder / "none")
    machine(*command, code=10, SOURCE_DATE_EPOCH="1000000000")
    machine(*command, code=9, XDG_CONFIG_HOME=nowhere)


def refuse(handler: BaseHTTPRequestHandler, path: Path) -> bool:
    handler.send_response(401)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


@pytest.mark.parametrize("name", READING)
def test_what_is_read_elsewhere_ends_with_a_code_that_says_what_is_wrong(
    machine: Machine, name: str
) -> None:
    def run(code: int, root: str, place: str, *more: str) -> None:
        line = words(machine, READING[name], ROOT=f"{root}.json", PLACE=place, NEW=f"new{code}")
        machine(*line, *more, code=code)

    run(9, "wrong", "m/site")
    run(11, "root", "holey")
    if name in UNREACHED:
        run(12, "root", f"http://127.0.0.1:{free_port()}")
        with hosting(machine.folder) as host:
            host.fault = refuse
            run(16, "root", host.url)
    if name != "adopt":  # which takes what is expired
        machine.moved = timedelta(days=8)
        try:
            run(10, "root", "m/site")
            run(13, "root", "m/site", "--allow-expired", "90d")
        finally:
            machine.moved = timedelta(0)


@pytest.mark.parametrize(("line", "command", "code"), CASES)
def test_a_command_ends_with_the_code_that_its_help_names(
    machine: Machine, line: str, command: str, code: int
) -> None:
    machine(*words(machine, line), code=code)


def test_a_clock_that_is_off_makes_no_mirror_and_gc_needs_a_key(machine: Machine) -> None:
    machine("init", "late", code=10, SOURCE_DATE_EPOCH="1000000000")
    shutil.copytree(machine.folder / "m", machine.folder / "old", symlinks=True)
    collect = ("-C", "old", "gc", "--revisions", "1", "--grace-hours", "0")
    machine(*collect, code=9, XDG_CONFIG_HOME=str(machine.folder / "none"))


def test_a_store_that_cannot_be_asked_gets_no_mirror(machine: Machine) -> None:
    secrets = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")

    def init(endpoint: str, code: int) -> None:
        at = ("--store", "s3://bucket/registry", "--endpoint", endpoint)
        machine("init", "stored", *at, code=code, **secrets)
        assert not (machine.folder / "stored").exists()

    init(f"http://127.0.0.1:{free_port()}", 12)
    with hosting(machine.folder) as host:
        host.fault = refuse
        init(host.url, 16)


def test_what_is_there_beside_a_good_mirror_has_a_code_of_its_own(machine: Machine) -> None:
    folder = machine.folder / "more"
    shutil.copytree(machine.folder / "m/site", folder, symlinks=True)
    digest = hashlib.sha256(b"more").hexdigest()
    path = folder / "catalog/blobs/sha256" / digest[:2] / digest
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"more")
    machine("check", "--strict", "--from", "more", "--root", "root.json", code=19)


def test_an_import_tells_what_it_did_not_take(machine: Machine) -> None:
    folder = machine.folder
    shutil.copytree(folder / "m/site", folder / "less", symlinks=True)
    # Others may lie beside it: those that a refused push left.
    digest = hashlib.sha256((folder / "a-1.0.0.tgz").read_bytes()).hexdigest()
    next((folder / "less/catalog/blobs").rglob(digest)).unlink()
    machine("init", "taker")
    take = ("-C", "taker", "import", "--root", "root.json")
    machine(*take, "less", code=14)
    machine("-C", "taker", "push", "--as", "ns/a", "--release", "1.0.0", "a-1.1.0.tgz")
    machine(*take, "m/site", code=4)


def test_a_root_that_comes_late_or_too_early_is_not_published(machine: Machine) -> None:
    shutil.copytree(machine.folder / "m", machine.folder / "ours", symlinks=True)
    ours = ("-C", "ours")
    for name, threshold in (("one.json", "1"), ("two.json", "2")):
        machine(*ours, "root", "propose", "--out", name, "--threshold", threshold)
        machine(*ours, "root", "sign", name, "--offline-keys", "offline")
    machine(*ours, "root", "publish", "one.json", code=10, SOURCE_DATE_EPOCH="1000000000")
    machine(*ours, "root", "publish", "one.json")
    machine(*ours, "root", "publish", "two.json", code=4)


def test_a_sync_and_its_report_end_with_what_became_of_the_source(machine: Machine) -> None:
    machine("init", "synced")
    path = machine.folder / "synced/mirror.yaml"
    first = path.read_text()

    def run(code: int, source: str) -> None:
        path.write_text(f"{first}\nsources:\n  up: {{{source}}}\n")
        machine("-C", "synced", "sync", code=code)
        machine("-C", "synced", "report", code=code)

    def mirror(root: str, place: str) -> str:
        return f"type: mirror, location: ../{place}, root: ../{root}.json"

    run(9, mirror("wrong", "m/site"))
    run(11, mirror("root", "holey"))
    run(12, f"type: registry, url: 'http://127.0.0.1:{free_port()}'")
    with hosting(machine.folder) as host:
        host.fault = refuse
        run(16, f"type: registry, url: '{host.url}'")
    run(0, mirror("root", "m/site"))
    run(15, mirror("wrong", "other/site") + ", deletes: follow")
    push = ("push", "--accept", "--as", "ns/a", "--release", "1.0.0", "a-1.1.0.tgz")
    machine("-C", "synced", *push)
    run(4, mirror("root", "m/site"))


def seen() -> Iterator[tuple[str, int]]:
    """What the calls ``machine(…, code=N)`` of all tests say of which command."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "code" and isinstance(value, ast.Constant):
                    command = _command(node)
                    if command and isinstance(value.value, int):
                        yield command, value.value


def _command(call: ast.Call) -> str:
    """The command that a call runs; "" if that is not written there."""
    said = [
        each.value for argument in call.args for each in ast.walk(argument)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]  # fmt: skip
    for first, second in zip(said, [*said[1:], ""], strict=False):
        if first in COMMANDS:
            found = cli.get_command(click.Context(cli), first)
            below = isinstance(found, click.Group) and second in found.commands
            return f"{first} {second}" if below else first
    return ""


def of_this_file() -> set[tuple[str, int]]:
    """What the tests of this file see."""
    of_keys = {(command, code) for command in SIGNING for code in (9, 10)}
    reading = {(command, code) for command in READING for code in (9, 10, 11, 12, 13, 16)}
    cases = {(command, code) for _, command, code in CASES}
    return of_keys | cases | STORIES | (reading - {("adopt", 10), ("adopt", 13)})


def test_what_tests_see_is_what_help_names() -> None:
    known = {(command, code) for command, codes in named().items() for code in codes}
    found = of_this_file() | {pair for pair in seen() if pair[1] not in OF_ALL}
    assert sorted(found - known) == []
    assert sorted(known - found - set(seen()) - set(ELSEWHERE)) == []


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_the_tests_that_are_named_exist(where: str) -> None:
    file, _, name = where.partition("::")
    assert f"def {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8")


def test_every_help_names_the_codes_of_the_table_and_no_others() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs/exit-codes.md").read_text(), re.M)
    for name, command in every_command():
        with click.Context(command, info_name=name, **cli.context_settings) as context:
            text = command.get_help(context)
        if not isinstance(command, click.Group):
            said = re.findall(r"^  (\d+)  ", text.partition("\nExit codes:")[2], re.M)
            assert [int(code) for code in said] == list(exits(name)), name
            assert "cnrmirror help exit-codes" in text and set(said) <= set(rows), name
    assert named().keys() <= {name for name, _ in every_command()}
