"""Whether helm and ``pull --verify-provenance`` agree about ``.prov`` files that gpg signed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.client.provenance import Keyring
from cnrmirror.client.pull import pull
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import BadSignature
from cnrmirror.model.names import Reference
from tests.conftest import NOW
from tests.interop.helm import helm, run
from tests.interop.today import Signer, chart
from tests.mirrors import make
from tests.test_pull import remote

pytestmark = pytest.mark.interop

FILE = "web-1.0.0.tgz"
ARCHIVE = chart("web", "1.0.0")
HELMS = ("helm39", "helm3", "helm4")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Signer]]:
    """Two keys; the first one signs."""
    both = [Signer(tmp_path_factory.mktemp(name)) for name in ("one", "two")]
    yield both
    for signer in both:
        signer.close()


def _cases(signer: Signer, stranger: Signer) -> dict[str, tuple[bytes, bool]]:
    good = signer.provenance(FILE, ARCHIVE)
    other = signer.provenance(FILE, chart("web", "1.0.0", more="# another one\n"))
    return {
        "good": (good, True),
        "with text around it": (b"before\n" + good + b"after\n", True),
        "with the ends of lines of Windows": (good.replace(b"\n", b"\r\n"), True),
        "changed": (good.replace(b"name: web", b"name: wet"), False),
        "of another archive": (other, False),
        "of another file": (signer.provenance("db-1.0.0.tgz", ARCHIVE), False),
        "by another key": (stranger.provenance(FILE, ARCHIVE), False),
        "cut": (good[: len(good) // 2], False),
        "not signed": (b"name: web\nversion: 1.0.0\n", False),
    }


def test_helm_and_pull_accept_and_refuse_the_same_files(
    tmp_path: Path, signers: list[Signer]
) -> None:
    said = {}
    for number, (what, (prov, good)) in enumerate(_cases(*signers).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / FILE).write_bytes(ARCHIVE)
        (folder / f"{FILE}.prov").write_bytes(prov)
        project = make(folder / "mirror", f"provenance {number}")
        push(project, [folder / FILE], Override(namespace="ns"), NOW)
        check = Keyring(signers[0].keyring.read_bytes(), "keyring", datetime.now(UTC))
        found = {}
        try:
            pull(remote(project, folder), Reference.parse("ns/web"), None, folder / "d", True,
                 Limits(), [check])  # fmt: skip
            found["cnrmirror"] = True
        except BadSignature:
            found["cnrmirror"] = False
        for name in HELMS:
            words = ("verify", "--keyring", signers[0].keyring, folder / FILE)
            found[name] = run(helm(name), tmp_path / "home", *words).code == 0
        said[what] = found
        assert set(found.values()) == {good}, said
