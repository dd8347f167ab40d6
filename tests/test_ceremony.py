"""Keys of several people on several media, at a terminal, and in a job that has no home."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from cnrmirror.cli.keyring import vaults
from cnrmirror.mirror.create import KeyPlan, refuse
from cnrmirror.mirror.home import given_keys
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rootplan import RootPlan, Vault, propose_root
from cnrmirror.model.errors import InputError, NotTrusted, TooLarge, UsageError
from cnrmirror.objects.files import read_descriptor
from cnrmirror.trust.keys import KeyFile, KeyFolder, generate, keys_in, public_key, write_key
from cnrmirror.trust.rotation import changes, from_file
from cnrmirror.trust.signing import Repository
from tests.conftest import chart_bytes
from tests.machine import ROOT, Machine
from tests.mirrors import NOW

ROOT_FILE = "m/site/catalog/metadata/1.root.json"


def at(*folders: str) -> list[str]:
    return [word for folder in folders for word in ("--offline-keys", folder)]


def listed(machine: Machine, *arguments: str) -> dict[str, dict[str, str]]:
    """The keys by their names."""
    rows = json.loads(machine.run("--json", "-C", "m", "keys", "list", *arguments).stdout)
    return {row["name"]: row for row in rows}


# -- several people, several media -----------------------------------------------------------------


def test_a_mirror_of_one_person_becomes_one_of_three_media_and_outlives_the_loss_of_one(
    tmp_path: Path,
) -> None:
    machine, reader, vault = (Machine(tmp_path / name) for name in ("home", "reader", "vault"))
    source = ("--from", str(machine.folder / "m"))

    def carried(*media: str) -> str:
        """A proposal is signed on a machine that has no mirror, and published here."""
        shutil.copy(machine.folder / "next.json", vault.folder)
        said = vault("root", "sign", "next.json", *at(*(str(machine.folder / m) for m in media)))
        shutil.copy(vault.folder / "next.json", machine.folder)
        machine("-C", "m", "root", "publish", "next.json")
        (machine.folder / "next.json").unlink()
        reader("list", *source)
        return said

    propose = ("-C", "m", "root", "propose", "--out", "next.json")
    said = machine("init", "m", "--solo", *at("A", "B"))
    assert [p.name.rsplit("-", 1)[0] for p in sorted((machine.folder / "A").iterdir())] == [
        "root-1", "targets",
    ]  # fmt: skip
    assert len([*(machine.folder / "B").iterdir()]) == 1 and "NOT protected" in said
    shutil.copy(machine.folder / ROOT_FILE, reader.folder)
    reader("list", *source, "--root", "1.root.json")

    made = machine(*propose, "--add", "C", "--threshold", "2")
    told = carried("A", "B")
    third = next((machine.folder / "C").iterdir())
    assert str(third.relative_to(machine.folder)) in made and third.name.startswith("root-3-")
    for text in (made, told):
        assert f"(its file ends with {third.name.removeprefix('root-3')})" in text
        assert "is added" in text and "is removed" not in text
        assert "two of three root keys must sign from now on" in text
    found = listed(machine, *at("A", "C"))
    assert {*found} == {"root-1", "root-2", "root-3", "targets", "publish", "refresh"}
    assert found["root-2"]["protection"] == "not here" and found["root-2"]["private"] == "-"
    assert found["root-3"]["protection"] == "plain"
    assert found["root-3"]["private"] == str(third.relative_to(machine.folder))

    shutil.move(machine.folder / "B", machine.folder / "lost")
    machine(*propose, "--replace", "root-2", "--new-keys", "D")
    assert "two of three root keys must sign, as before" in carried("A", "C")
    assert {"root-1", "root-3", "root-4"} < {*listed(machine)}

    words = machine(*propose, "--remove", "root-1", "--remove", "root-3", code=2)
    assert "root keys would be left: 1, and 2 must sign" in words
    machine(*propose, "--remove", "root-1")
    assert "no key here counts" in machine("root", "sign", "next.json", *at("lost"), code=9)
    assert "two of two root keys" in carried("C", "D")
    assert "all well" in reader("check", *source, "--strict")


D = Vault(Path("D"))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (RootPlan(removed=("targets",)), "not a current root key"),
        (RootPlan(removed=("root-1", "root-2")), "left: 1, and 2 must sign"),
        (RootPlan(("root-1",), D, removed=("root-1",)), "named twice"),
        (RootPlan(("root-1", "root-1"), D), "named twice"),
        (RootPlan(threshold=4), "4 must sign"),
        (RootPlan(vault=D), "--add FOLDER"),
        (RootPlan(("publish",), D), "keys rotate publish"),
        (RootPlan(("root-1",)), "--new-keys FOLDER"),
        (RootPlan(removed=("",)), "keys have that name or id"),
    ],
)
def test_a_root_that_cannot_be_is_refused_before_a_key_is_made(
    project: Project, plan: RootPlan, words: str
) -> None:
    assert isinstance(project.signer, Repository)
    with pytest.raises(UsageError, match=words):
        propose_root(project.signer, plan, NOW)
    assert not Path("D").exists()


def test_a_key_that_signs_snapshot_alone_is_not_called_the_refresh_key(project: Project) -> None:
    assert isinstance(project.signer, Repository)
    proposal, _ = propose_root(project.signer, RootPlan(("refresh",)), NOW)
    assert any(line.startswith("refresh key") for line in changes(proposal))
    root = proposal.proposed.signed
    fresh = generate().public_key
    root.add_key(fresh, "timestamp")
    said = changes(proposal)
    assert f"timestamp key {fresh.keyid} is added" in " ".join(said)
    assert not any(line.startswith("refresh key") for line in said)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with a mirror "m" of one package; nobody changes its keys."""
    machine = Machine(tmp_path_factory.mktemp("three") / "home")
    machine("init", "m", *at("A", "B", "C"))
    (machine.folder / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    machine("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz")
    return machine


def test_each_root_key_has_a_folder_of_its_own(three: Machine) -> None:
    assert [len([*(three.folder / name).iterdir()]) for name in "ABC"] == [2, 1, 1]


@pytest.mark.parametrize(
    ("names", "solo", "words"),
    [("AB", False, "2 folders for 3"), ("ABC", True, "3 folders for 2"), ("AAB", False, "same")],
)
def test_folders_among_which_keys_cannot_be_shared_out_are_refused(
    tmp_path: Path, names: str, solo: bool, words: str
) -> None:
    plan = KeyPlan(tmp_path, tuple(Vault(tmp_path / name) for name in names), solo)
    with pytest.raises(UsageError, match=words):
        refuse(plan)


# -- at a terminal ---------------------------------------------------------------------------------


def at_terminal(machine: Machine, *arguments: str, answers: Sequence[str]) -> tuple[int, str]:
    """How a command ends at a terminal, and what stands there; each question gets an answer."""
    ours, its = pty.openpty()
    homes = {f"XDG_{kind}_HOME": str(machine.folder / kind.lower())
             for kind in ("CONFIG", "STATE", "CACHE")}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", *arguments], cwd=machine.folder,
        stdin=its, stdout=its, stderr=its, start_new_session=True,
        env={**os.environ, **homes, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
    )  # fmt: skip
    os.close(its)
    said, waiting = b"", [*answers]
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # nobody writes any more
            break
        if not part:
            break
        said += part
        if said.endswith(b": ") and waiting:
            os.write(ours, waiting.pop(0).encode() + b"\n")
    os.close(ours)
    assert not waiting, said
    return process.wait(60), said.decode()


def test_passphrases_are_asked_for_at_a_terminal_and_not_shown(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    code, said = at_terminal(
        machine, "init", "m", "--solo", *at("A"), answers=["frst", "scnd", "thrd", "thrd"]
    )
    assert code == 0 and "passphrases differ" in said and "NOT protected" not in said
    for path in (machine.folder / "A").iterdir():
        assert KeyFile.read(path).is_encrypted
    propose = ("-C", "m", "root", "propose", "--out", "next.json", "--add", "B")
    code, more = at_terminal(machine, *propose, answers=[""])
    assert code == 0 and "no passphrase for the keys in B" in more and "NOT protected" in more
    # Both root keys have one passphrase: it is said once.
    sign = ("root", "sign", "next.json", *at("A"))
    code, signed = at_terminal(machine, *sign, answers=["scnd", "thrd"])
    assert code == 0 and "does not open A/root-1" in signed and "keys: 2 of 1" in signed
    for answer in ("frst", "scnd", "thrd"):
        assert answer not in said + more + signed
    assert "--passphrase-file" in machine(*sign, code=3)  # nobody is asked


def test_a_wrong_passphrase_is_asked_for_again_twice(tmp_path: Path) -> None:
    signer = generate()
    path = write_key(tmp_path, "root-1", signer, b"right")
    asked: list[bool] = []

    def ask(where: str, again: bool) -> bytes:
        asked.append(again)
        return b"wrong"

    with pytest.raises(InputError, match="another passphrase"):
        KeyFolder(tmp_path, ask=ask).signer("root", [signer.public_key])
    assert asked == [False, True, True]
    silent = KeyFolder(tmp_path, ask=lambda where, again: None)
    assert silent.signer("root", [signer.public_key]) is None
    assert silent.held("root", signer.public_key) == (str(path), "passphrase")


# -- what is no file -------------------------------------------------------------------------------


def test_a_pipe_or_device_in_the_place_of_a_file_is_refused_and_nobody_waits(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "root-1-00000000.pem"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        for read in (KeyFile.read, public_key, from_file):
            with pytest.raises(InputError, match="not a regular file"):
                read(path)
        with pytest.raises(InputError, match="not a regular file"):
            vaults([None], [path])
    machine = Machine(tmp_path / "home")
    assert "not a regular file" in machine("init", "m", "--passphrase-file", str(fifo), code=3)
    assert not (machine.folder / "m").exists()


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_passphrase_comes_from_a_process_that_the_shell_started(
    tmp_path: Path, folder: str
) -> None:
    if not Path(folder).is_dir():
        pytest.skip(f"no {folder} here")
    ours, its = os.pipe()
    with open(its, "wb") as stream:
        stream.write(b"a passphrase\r\nand more\n")
    assert vaults([tmp_path], [Path(f"{folder}/{ours}")]) == (Vault(tmp_path, b"a passphrase"),)
    os.close(ours)
    with pytest.raises(InputError):
        vaults([tmp_path], [Path(f"{folder}/{ours}")])


def test_a_descriptor_is_read_within_bounds(tmp_path: Path) -> None:
    with open("/dev/zero", "rb") as endless, pytest.raises(InputError, match="neither a file"):
        read_descriptor(endless.fileno(), 10, "it")
    with pytest.raises(InputError, match="it: "):
        read_descriptor(60_000, 10, "it")
    (tmp_path / "long").write_bytes(b"x" * 11)
    with open(tmp_path / "long", "rb") as stream, pytest.raises(TooLarge):
        read_descriptor(stream.fileno(), 10, "it")


def test_one_passphrase_file_serves_all_folders_or_each_has_its_own(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(f"{file.name}\n")
    folders = [tmp_path / name for name in "ABC"]
    assert [v.passphrase for v in vaults(folders, files)] == [b"a", b"b", b"c"]
    assert [v.passphrase for v in vaults(folders, files[:1])] == [b"a", b"a", b"a"]
    assert [v.passphrase for v in vaults(folders, [])] == [None, None, None]
    with pytest.raises(UsageError, match="2 passphrase files for 3 folders"):
        vaults(folders, files[:2])


def test_a_plain_key_that_others_may_read_is_not_used_in_any_format(tmp_path: Path) -> None:
    signer = generate()
    private = serialization.load_pem_private_key(signer.private_bytes, None)
    kind = serialization.PrivateFormat.OpenSSH
    path = tmp_path / f"root-1-{signer.public_key.keyid[:8]}.pem"
    path.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
    )
    path.chmod(0o644)
    with pytest.raises(NotTrusted, match="chmod 600"):
        KeyFolder(tmp_path).signer("root", [signer.public_key])
    path.chmod(0o600)
    assert KeyFolder(tmp_path / "none", tmp_path).signer("root", [signer.public_key]) is not None


# -- in a job that has no home ---------------------------------------------------------------------

HOMELESS = """
import pwd

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
from cnrmirror.cli import main
main()
"""


def job(folder: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """What a command says that a user runs who has no home, and no name."""
    own = {k: v for k, v in os.environ.items()
           if k not in ("HOME", "CNRMIRROR_ALLOW_PAST") and not k.startswith("XDG_")}  # fmt: skip
    number = environment.get("CNRMIRROR_KEYS_FD")
    done = subprocess.run(
        [sys.executable, "-c", HOMELESS, *arguments], cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, pass_fds=[int(number)] if number else [],
        env={**own, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def pem(three: Machine) -> str:
    """The online keys as a secret of a job has them."""
    return "".join(path.read_text() for path in sorted((three.folder / "config").rglob("*.pem")))


def test_a_job_without_a_home_takes_its_keys_from_the_environment(
    three: Machine, pem: str, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    (folder / "charts").mkdir(parents=True)
    shutil.copytree(three.folder / "m", folder / "m", symlinks=True)
    with (folder / "m/mirror.yaml").open("a") as file:
        file.write("sources:\n  c: {type: charts, folder: ../charts, namespace: c}\n")
    (folder / "charts/c-1.0.0.tgz").write_bytes(chart_bytes("c", "1.0.0"))
    (folder / "b-1.0.0.tgz").write_bytes(chart_bytes("b", "1.0.0"))
    push = ("-C", "m", "push", "--namespace", "ns", "b-1.0.0.tgz")
    assert "CNRMIRROR_KEYS" in job(folder, *push, code=2)
    said = [
        job(folder, *arguments, CNRMIRROR_KEYS=pem)
        for arguments in (
            push,
            ("-C", "m", "channel", "set", "ns/b", "stable", "1.0.0"),
            ("-C", "m", "remove", "ns/a@1.0.0"),
            ("-C", "m", "sync"),
            ("-C", "m", "publish", "./pub"),
            ("-C", "m", "keys", "list"),
        )
    ]
    assert "CNRMIRROR_KEYS" in said[-1]
    with open(folder / "secret", "w+") as secret:
        secret.write(pem)
        secret.flush()
        secret.seek(0)
        number = str(secret.fileno())
        said.append(job(folder, "-C", "m", "refresh", CNRMIRROR_KEYS_FD=number))
    assert not {"PRIVATE", *pem.split()} & {*" ".join(said).split()}
    assert {path.name for path in folder.iterdir()} == {
        "m", "pub", "charts", "b-1.0.0.tgz", "secret",
    }  # fmt: skip
    other = generate().private_bytes.decode()
    assert "not in CNRMIRROR_KEYS" in job(
        folder, "-C", "m", "channel", "set", "ns/b", "x", "1.0.0", code=9, CNRMIRROR_KEYS=other
    )


@pytest.mark.parametrize("form", ["{}", "\r\n{}", "  # the publish key\n{}trailing"])
def test_keys_are_found_in_a_text_however_it_was_pasted(form: str) -> None:
    made = [generate() for _ in range(2)]
    text = "".join(form.format(key.private_bytes.decode()) for key in made)
    for pasted in (text, text.replace("\n", "\n    "), text.replace("\n", "\r\n")):
        found = keys_in(pasted.encode(), "it")
        assert [k.public_key.keyid for k in found] == [k.public_key.keyid for k in made]


def test_a_text_that_is_no_plain_key_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted = write_key(tmp_path, "publish", generate(), b"pw").read_text()
    broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    for text in ("nothing", encrypted, broken, "x" * 70_000):
        monkeypatch.setenv("CNRMIRROR_KEYS", text)
        with pytest.raises(InputError, match="CNRMIRROR_KEYS: ") as caught:
            given_keys()
        assert "AAAA" not in str(caught.value)
    monkeypatch.setenv("CNRMIRROR_KEYS_FD", "3")
    with pytest.raises(UsageError, match="both set"):
        given_keys()
    monkeypatch.delenv("CNRMIRROR_KEYS")
    monkeypatch.setenv("CNRMIRROR_KEYS_FD", "three")
    with pytest.raises(UsageError, match="not the number"):
        given_keys()
