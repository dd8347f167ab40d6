"""A cosign signature passes with its key, for the manifest that holds the archive, and only so."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cnrmirror.archive.scan import Limits
from cnrmirror.cli.signatures import checks_of
from cnrmirror.client.cosign import CosignKey
from cnrmirror.client.pull import pull
from cnrmirror.client.signatures import verdicts
from cnrmirror.model import oci
from cnrmirror.model.documents import Release
from cnrmirror.model.errors import BadSignature, InputError
from cnrmirror.model.names import Reference
from tests.conftest import chart_bytes
from tests.hostile import hosting
from tests.oci_double import named
from tests.test_oci_source import Place
from tests.test_pull import remote

ARCHIVE = chart_bytes("a", "1.0.0")
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
MAKERS: dict[str, Callable[[], Private]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def public(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def signed(key: Private, payload: bytes) -> str:
    """What cosign writes into the annotation."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        made = key.sign(payload)
    elif isinstance(key, rsa.RSAPrivateKey):
        made = key.sign(payload, padding.PKCS1v15(), SHA256())
    else:
        made = key.sign(payload, ec.ECDSA(SHA256()))
    return base64.b64encode(made).decode()


def payload_of(digest: str, kind: str = "cosign container image signature") -> bytes:
    critical = {"identity": {"docker-reference": "registry.example.test/ns/a"},
                "image": {"docker-manifest-digest": digest}, "type": kind}  # fmt: skip
    return json.dumps({"critical": critical, "optional": None}).encode()


class Registry:
    """A registry with a chart, and a mirror of it; ``digest`` is that of the chart's manifest."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.digest = place.registry.chart("ns/a", "1.0.0", ARCHIVE)

    def attach(
        self, payload: bytes, notes: dict[str, str], media_type: str = PAYLOAD, **subject: Any
    ) -> None:
        """Attach what cosign does: under its tag, or as what refers to the manifest."""
        layer = named(payload, media_type, annotations=notes)
        body = {"schemaVersion": 2, "mediaType": oci.OCI_MANIFEST,
                "config": named(b"{}", oci.EMPTY_CONFIG), "layers": [layer], **subject}  # fmt: skip
        registry = self.place.registry
        registry.blobs |= {layer["digest"]: payload, named(b"{}", "")["digest"]: b"{}"}
        tag = "" if subject else f"{self.digest.replace(':', '-')}.sig"
        registry.manifest("ns/a", tag, json.dumps(body).encode(), oci.OCI_MANIFEST)

    def sign(self, key: Private, payload: bytes = b"", certificate: str = "") -> None:
        payload = payload or payload_of(self.digest)
        notes = {CERTIFICATE: certificate} if certificate else {}
        self.attach(payload, {SIGNATURE: signed(key, payload), **notes})

    def release(self) -> Release:
        assert self.place.sync().exit_code == 0
        return self.place.release()

    def asked(self, key: bytes, release: Release | None = None) -> str:
        """The fingerprint of the key that a check finds."""
        store = self.place.project.store
        check = CosignKey(key, "cosign.pub")
        signer = check("ns/a", release or self.release(), lambda blob: [
            Path(store.blob_path(blob.digest)).read_bytes()
        ])  # fmt: skip
        assert signer.kind == "cosign" and signer.time == "" and signer.names == []
        return signer.key

    def refusal(self, key: bytes, release: Release | None = None) -> str:
        with pytest.raises(BadSignature) as caught:
            self.asked(key, release)
        return caught.value.message


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with hosting(tmp_path) as host:
        yield Registry(Place(tmp_path, host))


@pytest.fixture(scope="module")
def ours() -> Private:
    return MAKERS["p256"]()


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_of_key_is_checked_and_its_fingerprint_said(
    registry: Registry, kind: str
) -> None:
    key = MAKERS[kind]()
    registry.sign(key)
    form = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert registry.asked(public(key)) == f"sha256:{hashlib.sha256(form).hexdigest()}"
    assert "no cosign signature of it is good" in registry.refusal(public(MAKERS[kind]()))


def test_a_signature_may_refer_to_the_manifest_in_the_place_of_a_tag(
    registry: Registry, ours: Private
) -> None:
    payload = payload_of(registry.digest)
    data, media_type = registry.place.registry.manifests["ns/a", registry.digest]
    kind = "application/vnd.dev.cosign.artifact.sig.v1+json"
    registry.attach(payload, {SIGNATURE: signed(ours, payload)}, artifactType=kind,
                    subject=named(data, media_type))  # fmt: skip
    assert registry.asked(public(ours))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(payload_of(f"sha256:{'0' * 64}"), "that of another manifest"),
     (payload_of("DIGEST", "atomic container signature"), "is not 'cosign container"),
     (b"{}", "cannot be read"), (b"no JSON", "cannot be read"),
     (b'{"critical":1,"critical":1}', "cannot be read")],
)  # fmt: skip
def test_a_good_signature_of_something_else_is_not_enough(
    registry: Registry, ours: Private, payload: bytes, reason: str
) -> None:
    registry.sign(ours, payload.replace(b"DIGEST", registry.digest.encode()))
    assert reason in registry.refusal(public(ours))


@pytest.mark.parametrize("annotation", ["", "not base64!", "AAAA", "é"])
def test_a_changed_signature_is_refused(registry: Registry, ours: Private, annotation: str) -> None:
    registry.attach(payload_of(registry.digest), {SIGNATURE: annotation})
    assert "no cosign signature of it is good" in registry.refusal(public(ours))


def test_a_changed_payload_is_refused(registry: Registry, ours: Private) -> None:
    payload = payload_of(registry.digest)
    registry.attach(payload + b" ", {SIGNATURE: signed(ours, payload)})
    assert "no cosign signature of it is good" in registry.refusal(public(ours))


def test_what_no_key_can_show_is_said_to_be_that(registry: Registry, ours: Private) -> None:
    registry.sign(MAKERS["p256"](), certificate="-----BEGIN CERTIFICATE-----")
    assert "(keyless): that cannot be checked here" in registry.refusal(public(ours))


def test_a_bundle_is_said_not_to_be_checked_here(registry: Registry, ours: Private) -> None:
    data, media_type = registry.place.registry.manifests["ns/a", registry.digest]
    subject = named(data, media_type)
    registry.attach(b"{}", {}, BUNDLE, artifactType=BUNDLE, subject=subject)
    assert "(a bundle, an attestation): that cannot be checked here" in registry.refusal(
        public(ours)
    )


def test_a_release_without_a_signature_is_refused(registry: Registry, ours: Private) -> None:
    assert "carries no signature of cosign's" in registry.refusal(public(ours))


def test_the_signed_manifest_must_hold_the_archive(registry: Registry, ours: Private) -> None:
    registry.sign(ours)
    release = registry.release()
    assert registry.asked(public(ours), release)
    other = msgspec.structs.replace(release.blob, digest="0" * 64)
    foreign = msgspec.structs.replace(release, blob=other)
    assert "without the manifest of its archive" in registry.refusal(public(ours), foreign)
    own = [a for a in release.attachments if a.role != "manifest"]
    lonely = msgspec.structs.replace(release, attachments=own)
    assert "without the manifest of its archive" in registry.refusal(public(ours), lonely)
    large = [msgspec.structs.replace(a, size=1 << 30) for a in release.attachments]
    assert "are not read" in registry.refusal(
        public(ours), msgspec.structs.replace(release, attachments=large)
    )


def test_what_is_no_public_key_of_a_kind_that_is_known_is_refused(ours: Private) -> None:
    secret = ours.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for garbage in (b"", b"garbage", secret, b"-----BEGIN PUBLIC KEY-----\nAAAA\n"):
        with pytest.raises(InputError, match="not a public key in PEM"):
            CosignKey(garbage, "cosign.pub")
    others = (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024))
    for other in others:
        with pytest.raises(InputError, match="cannot be used here"):
            CosignKey(public(other), "cosign.pub")


def test_a_pull_asks_for_the_signature_and_the_report_counts_it(
    registry: Registry, ours: Private, tmp_path: Path
) -> None:
    registry.sign(ours)
    registry.place.registry.chart("ns/b", "1.0.0", chart_bytes("b", "1.0.0"), b"a .prov file")
    report = registry.place.sync()
    assert report.exit_code == 0 and report.signed == {"cosign": 1, "provenance": 1}
    assert registry.place.sync().signed == report.signed, "nothing is fetched, and it is counted"
    (tmp_path / "cosign.pub").write_bytes(public(ours))
    there, checks = (
        remote(registry.place.project, tmp_path),
        checks_of(None, tmp_path / "cosign.pub"),
    )
    pulled = pull(there, Reference.parse("ns/a"), None, tmp_path / "d", True, Limits(), checks)
    assert Path(pulled.path).read_bytes() == ARCHIVE and pulled.signed_by[0].kind == "cosign"
    with pytest.raises(BadSignature):
        pull(there, Reference.parse("ns/b"), None, tmp_path / "d", True, Limits(), checks)
    [verdict] = verdicts(there.document("ns/a"), checks, there.blob)
    assert str(verdict).startswith("cosign: 1.0.0 (helm): good, by sha256:")
    assert verdicts(there.document("ns/b"), checks, there.blob) == []
