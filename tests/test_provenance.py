"""A chart's ``.prov`` file passes with the key that signed it, for its own archive, and only so."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import pysequoia
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.cli.signatures import checks_of
from cnrmirror.client.provenance import Keyring
from cnrmirror.client.pull import pull
from cnrmirror.client.signatures import Signer
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment, Release
from cnrmirror.model.errors import BadSignature, InputError, Tampered, UsageError
from cnrmirror.model.names import Reference
from cnrmirror.model.oci import HELM_PROVENANCE, MAX_PROVENANCE, PGP_SIGNATURE
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.machine import Machine
from tests.test_pull import remote

WHO = "Tests <tests@example.test>"
CHART = "apiVersion: v2\nname: {name}\nversion: {version}\n"
FILES = "\n...\nfiles:\n  {name}-{version}.tgz: sha256:{digest}\n"
ARCHIVE = chart_bytes("a", "1.0.0")
TODAY = datetime.now(UTC)


class Pair(NamedTuple):
    """A key of the tests' own; ``public`` is what a keyring has of it."""

    secret: pysequoia.Tsk
    cert: pysequoia.Cert

    @property
    def public(self) -> bytes:
        return bytes(self.cert)

    def sign(self, text: str) -> bytes:
        mode = pysequoia.SignatureMode.CLEAR
        return pysequoia.sign(self.secret.signer(), text.encode(), mode=mode)


def pair(who: str = WHO, seconds: int | None = None) -> Pair:
    secret = pysequoia.Tsk.generate(who, validity_seconds=seconds)
    return Pair(secret, secret.extract_certificate())


@pytest.fixture(scope="module")
def ours() -> Pair:
    return pair()


def text_of(archive: bytes = ARCHIVE, name: str = "a", version: str = "1.0.0") -> str:
    digest = hashlib.sha256(archive).hexdigest()
    return (CHART + FILES).format(name=name, version=version, digest=digest)


def release(provenance: bytes, media_type: str = HELM_PROVENANCE, size: int = 0) -> Release:
    """A release that carries a file, as a document speaks of it."""
    blob = Descriptor.of(provenance)
    attachment = {"mediaType": media_type, "digest": blob.digest, "size": size or blob.size}
    content = {"digest": "0" * 64, "mediaType": "x", "size": 1}
    value = {"release": "1.0.0", "media_type": "helm", "created_at": NOW, "mediaType": "x",
             "content": content, "blob": Descriptor.of(ARCHIVE), "metadata": msgspec.Raw(b"null"),
             "origin": "push", "flags": [], "attachments": [attachment]}  # fmt: skip
    return msgspec.json.decode(msgspec.json.encode(value), type=Release)


def asked(
    keyring: bytes, provenance: bytes, package: str = "ns/a", now: datetime = TODAY, **more: object
) -> Signer:
    check = Keyring(keyring, "keys.gpg", now)
    carried = release(provenance, **more)  # type: ignore[arg-type]
    return check(package, carried, lambda blob: [provenance])


def refusal(keyring: bytes, provenance: bytes, *words: object, **more: object) -> str:
    with pytest.raises(BadSignature) as caught:
        asked(keyring, provenance, *words, **more)  # type: ignore[arg-type]
    assert "backtrace" not in caught.value.message
    return caught.value.message


# -- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("armored", [False, True])
def test_it_says_which_key_signed_and_when(ours: Pair, armored: bool) -> None:
    other = pair("Other <o@example.test>")
    keyring = b"".join(
        str(each.cert).encode() if armored else each.public for each in (other, ours)
    )
    signer = asked(keyring, ours.sign(text_of()))
    assert (signer.kind, signer.key, signer.names) == ("provenance", ours.cert.fingerprint, [WHO])
    assert abs(datetime.fromisoformat(f"{signer.time}Z") - TODAY) < timedelta(hours=2)


def test_a_text_around_the_signed_one_is_not_read(ours: Pair) -> None:
    evil = text_of(b"another archive").encode()
    signed = ours.sign(text_of())
    assert asked(ours.public, evil + signed + evil).key == ours.cert.fingerprint
    assert "another archive" in refusal(
        ours.public, text_of().encode() + ours.sign(text_of(b"other")) + text_of().encode()
    )


def test_lines_may_end_as_on_windows_and_a_version_may_begin_with_v(ours: Pair) -> None:
    signed = ours.sign(text_of(version="v1.0.0"))
    assert asked(ours.public, signed.replace(b"\n", b"\r\n")).names == [WHO]


# -- what does not --------------------------------------------------------------------------------


def test_every_changed_byte_of_the_signed_text_is_seen(ours: Pair) -> None:
    signed = ours.sign(text_of())
    begin = signed.index(b"apiVersion")
    for at in range(begin, signed.index(b"-----BEGIN PGP SIGNATURE") - 2):
        changed = bytearray(signed)
        changed[at] ^= 1
        assert refusal(ours.public, bytes(changed))


@pytest.mark.parametrize(
    ("text", "reason"),
    [(text_of(b"another archive"), "another archive of this name"),
     (text_of(version="1.0.1"), "signed for a 1.0.1"), (text_of(name="b"), "signed for b 1.0.0"),
     (text_of().replace("  a-1", "  b-1"), "the digest of a-1.0.0.tgz"),
     (text_of().replace("sha256:", "sha512:"), "another archive of this name"),
     (text_of().replace("files:", "images:"), "the digest of a-1.0.0.tgz"),
     (text_of().replace("...\n", ""), "not a Chart.yaml and digests"),
     (text_of() + "...\n" + text_of(), "not a Chart.yaml and digests"),
     (text_of().replace("name: a", "name: [a"), "not YAML"),
     (text_of() + "files: {}\n", "is there twice"), ("- a\n...\n- b\n", "not a mapping"),
     (text_of().replace("name: a", "name: {a: b}"), "signed for"),
     (text_of() + "more: [" + "," * 200_000 + "]\n", "more values than are read"),
     ("a letter to somebody\n", "not a Chart.yaml and digests")],
)  # fmt: skip
def test_a_good_signature_of_something_else_is_not_enough(
    ours: Pair, text: str, reason: str
) -> None:
    assert reason in refusal(ours.public, ours.sign(text))


def test_two_signed_texts_in_one_file_are_refused(ours: Pair) -> None:
    signed, other = ours.sign(text_of()), ours.sign(text_of(b"other"))
    for both in (signed + other, other + signed):
        assert "not one clear-signed text" in refusal(ours.public, both)


def test_an_unknown_key_is_told_from_a_bad_signature(ours: Pair) -> None:
    stranger = pair("Stranger <s@example.test>")
    unknown = refusal(ours.public, stranger.sign(text_of()))
    assert "that key is not in keys.gpg" in unknown
    bad = refusal(ours.public, ours.sign(text_of()).replace(b"1.0.0", b"1.0.1"))
    assert "bad signature" in bad and "not in keys.gpg" not in bad


def test_an_expired_key_and_a_revoked_one_count_no_more(ours: Pair) -> None:
    short = pair(seconds=3600)
    signed = short.sign(text_of())
    assert asked(short.public, signed).names == [WHO]
    late = refusal(short.public, signed, now=TODAY + timedelta(hours=2))
    assert "has expired" in late
    revoked = ours.public + bytes(ours.cert.revoke(ours.secret.certifier()))
    assert "bad signature" in refusal(revoked, ours.sign(text_of()))


def test_a_file_in_another_form_is_said_to_be_that(ours: Pair) -> None:
    inline = pysequoia.sign(ours.secret.signer(), text_of().encode())
    mode = pysequoia.SignatureMode.DETACHED
    detached = pysequoia.sign(ours.secret.signer(), ARCHIVE, mode=mode)
    for other in (inline, detached, b"", b"\x00\xff", text_of().encode()):
        said = refusal(ours.public, other, media_type=PGP_SIGNATURE)
        assert "cannot be checked here" in said
    cut = ours.sign(text_of()).partition(b"-----BEGIN PGP SIGNATURE")[0]
    assert "is damaged" in refusal(ours.public, cut)


def test_a_larger_file_is_not_read(ours: Pair) -> None:
    signed = ours.sign(text_of())
    assert "are not read" in refusal(ours.public, signed, size=MAX_PROVENANCE + 1)


def test_of_two_files_one_has_to_be_good_and_none_is_an_error(ours: Pair) -> None:
    files = {Descriptor.of(data): data for data in (b"no such file", ours.sign(text_of()))}
    attachments = [Attachment(HELM_PROVENANCE, d.digest, d.size) for d in files]
    carried = msgspec.structs.replace(release(b""), attachments=attachments)
    check = Keyring(ours.public, "keys.gpg", TODAY)
    assert check("ns/a", carried, lambda blob: [files[blob]]).names == [WHO]
    with pytest.raises(BadSignature, match="carries no provenance"):
        check("ns/a", msgspec.structs.replace(carried, attachments=[]), lambda blob: [])


# -- keyrings -------------------------------------------------------------------------------------


def test_what_is_no_keyring_of_public_keys_is_refused(ours: Pair) -> None:
    cut = ours.public[:-7]
    # An issuer of a version that there is not: the key can be read, and not be written again.
    odd = ours.public.replace(b"\x16\x21\x04", b"\x16\x21\x09", 1)
    assert pysequoia.Cert.split_bytes(odd) and odd != ours.public
    for garbage in (b"", b"garbage", bytes(range(256)), ours.sign(text_of()), cut, odd):
        with pytest.raises(InputError, match="gpg --export"):
            Keyring(garbage, "keys.gpg", TODAY)
    for secret in (bytes(ours.secret), ours.public + bytes(ours.secret)):
        with pytest.raises(InputError, match="secret keys"):
            Keyring(secret, "keys.gpg", TODAY)


def test_without_the_library_the_command_says_what_to_install(
    ours: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.gpg"
    path.write_bytes(ours.public)
    monkeypatch.delitem(sys.modules, "cnrmirror.client.provenance")
    monkeypatch.setitem(sys.modules, "pysequoia", None)
    with pytest.raises(UsageError, match=r"pip install 'cnrmirror\[provenance\]'"):
        checks_of(path, None)
    assert checks_of(None, None) == []
    monkeypatch.undo()
    importlib.import_module("cnrmirror.client.provenance")


# -- pull and show --------------------------------------------------------------------------------


def pushed(project: Project, folder: Path, prov: bytes | None, archive: bytes = ARCHIVE) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "a-1.0.0.tgz").write_bytes(archive)
    if prov is not None:
        (folder / "a-1.0.0.tgz.prov").write_bytes(prov)
    push(project, [folder / "a-1.0.0.tgz"], Override(namespace="ns"), NOW)


def test_a_pull_that_is_refused_fetches_no_archive_and_leaves_nothing(
    tmp_path: Path, project: Project, ours: Pair
) -> None:
    pushed(project, tmp_path / "in", ours.sign(text_of(b"other")))
    there, dest = remote(project, tmp_path), tmp_path / "d"
    check = Keyring(ours.public, "keys.gpg", TODAY)
    (project.site / f"catalog/blobs/{_blob(ARCHIVE)}").unlink()
    for tarball in (True, False):
        with pytest.raises(BadSignature, match="another archive"):
            pull(there, Reference.parse("ns/a"), None, dest, tarball, Limits(), [check])
    assert not dest.exists()


def _blob(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256/{digest[:2]}/{digest}"


def test_an_archive_that_is_not_the_signed_one_is_still_found_out(
    tmp_path: Path, project: Project, ours: Pair
) -> None:
    pushed(project, tmp_path / "in", ours.sign(text_of()))
    path = project.site / f"catalog/blobs/{_blob(ARCHIVE)}"
    path.unlink()
    path.write_bytes(ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1]))
    check = Keyring(ours.public, "keys.gpg", TODAY)
    with pytest.raises(Tampered):
        pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path / "d", True,
             Limits(), [check])  # fmt: skip
    assert list((tmp_path / "d").iterdir()) == []


def test_what_was_repacked_for_helm_is_pulled_as_it_was_signed(
    tmp_path: Path, project: Project, ours: Pair
) -> None:
    flat = tar_gz({"Chart.yaml": b"apiVersion: v2\nname: a\nversion: 1.0.0\n", "values.yaml": b""})
    pushed(project, tmp_path / "in", ours.sign(text_of(flat)), flat)
    assert "repacked" in {a.role for a in project.document("ns/a").releases[0].attachments}
    check = Keyring(ours.public, "keys.gpg", TODAY)
    pulled = pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path, True,
                  Limits(), [check])  # fmt: skip
    assert Path(pulled.path).read_bytes() == flat and pulled.signed_by[0].names == [WHO]


def test_pull_and_show_say_who_signed_and_what_is_bad(tmp_path: Path, ours: Pair) -> None:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    for name, data in (("keys.gpg", ours.public), ("other.gpg", pair().public), ("bad.gpg", b"x"),
                       ("a-1.0.0.tgz", ARCHIVE), ("b-1.0.0.tgz", chart_bytes("b", "1.0.0")),
                       ("a-1.0.0.tgz.prov", ours.sign(text_of()))):  # fmt: skip
        (machine.folder / name).write_bytes(data)
    machine("-C", "m", "push", "--namespace", "ns", "a-1.0.0.tgz", "b-1.0.0.tgz")
    origin = ("--from", "m", "--root", "m/site/catalog/metadata/1.root.json")

    def say(*words: str, keyring: str = "keys.gpg", code: int = 0) -> str:
        return machine(*words, "--verify-provenance", keyring, code=code)

    key = ours.cert.fingerprint
    assert f"provenance: good, by {WHO} ({key}), 20" in say("pull", "ns/a", *origin)
    again = ("pull", "ns/a", *origin, "--tarball")
    [signer] = json.loads(say("--json", *again))["signed_by"]
    assert (signer["kind"], signer["key"], signer["names"]) == ("provenance", key, [WHO])
    assert "carries no provenance" in say("pull", "ns/b", *origin, code=9)
    elsewhere = (*again, "--dest", "d")
    assert "not in other.gpg" in say(*elsewhere, keyring="other.gpg", code=9)
    assert "not a keyring" in say(*elsewhere, keyring="bad.gpg", code=3)
    assert not (machine.folder / "ns_b_1.0.0").exists() and not (machine.folder / "d").exists()
    for words in (["-C", "m", "show", "ns/a"], ["show", "ns/a", *origin]):
        said = say(*words)
        assert f"provenance: 1.0.0 (helm): good, by {WHO} ({key})" in said
        assert "not verified here" not in said
        assert "provenance: 1.0.0 (helm): bad: " in say(*words, keyring="other.gpg")
        [verdict] = json.loads(say("--json", *words))["verified"]
        assert verdict["signer"]["key"] == key
    assert json.loads(say("-C", "m", "--json", "show", "ns/b"))["verified"] == []


def test_a_file_attached_later_counts_as_one_that_came_with_the_chart(
    tmp_path: Path, project: Project, ours: Pair
) -> None:
    pushed(project, tmp_path / "in", None)
    (tmp_path / "late").write_bytes(ours.sign(text_of()))
    what = What(attached=[(PGP_SIGNATURE, tmp_path / "late")])
    push(project, [tmp_path / "in/a-1.0.0.tgz"], Override(namespace="ns"), NOW, what)
    check = Keyring(ours.public, "keys.gpg", TODAY)
    pulled = pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path, True,
                  Limits(), [check])  # fmt: skip
    assert pulled.signed_by[0].key == ours.cert.fingerprint
