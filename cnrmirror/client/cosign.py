"""Signatures that ``cosign sign --key`` makes, checked against a public key that somebody has.

::

    signature's manifest ── layer: payload ── critical.image.docker-manifest-digest ─┐
          └ annotation of the layer: the signature of the payload                    │
    the upstream's own manifest ◀────────────────────────────────────────────────────┘
          └ layer: the archive

The form is cosign's (github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md). What no key alone can
show (a certificate, a bundle, an entry in a public log) is not checked here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from cnrmirror.client.signatures import Blob, Signer, attached
from cnrmirror.model import typed
from cnrmirror.model.canonical import parse_json
from cnrmirror.model.documents import Attachment, Release
from cnrmirror.model.errors import BadSignature, InputError

MAX_KEY = 64 << 10
_MAX_MANIFEST = 4 << 20
_MAX_PAYLOAD = 1 << 20
_MIN_RSA = 2048
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_TYPE = "cosign container image signature"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
T = TypeVar("T")


class _Layer(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    digest: str
    annotations: dict[str, str] | None = None


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[_Layer] = []


class _Image(msgspec.Struct, frozen=True, rename="kebab"):
    docker_manifest_digest: str


class _Critical(msgspec.Struct, frozen=True):
    image: _Image
    type: str


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical


class CosignKey:
    """A public key (ECDSA on P-256, RSA, ed25519); a ``Check`` of cosign's signatures.

    Args:
        data: the PEM file, as ``cosign public-key`` writes it.
        where: what errors call it.

    Raises:
        InputError: not such a key.
    """

    kind = "cosign"

    def __init__(self, data: bytes, where: str) -> None:
        self._where = where
        self._key = _public_key(data, where)
        form = self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._fingerprint = f"sha256:{hashlib.sha256(form).hexdigest()}"

    def __call__(self, package: str, release: Release, blob: Blob) -> Signer:
        """See ``Check``; of several signatures, one has to be good."""
        where = f"{package}@{release.release}"
        if self.kind not in release.signatures:
            raise BadSignature(f"{where} carries no signature of cosign's")
        signed = _Signed(release, where, blob)
        digests = signed.manifests()
        layers = list(signed.layers())
        good = [
            payload
            for layer in layers
            if (payload := signed.payload(layer)) is not None and self._made(layer, payload)
        ]
        if any(_image_in(payload, where) in digests for payload in good):
            return Signer(self.kind, self._fingerprint)
        reason = (
            "its cosign signature is that of another manifest" if good else self._reason(layers)
        )
        raise BadSignature(f"{where}: {reason}")

    def _made(self, layer: _Layer, payload: bytes) -> bool:
        """Whether the signature of a payload is this key's."""
        try:
            signature = base64.b64decode(
                (layer.annotations or {}).get(_SIGNATURE, ""), validate=True
            )
            _verify(self._key, signature, payload)
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True

    def _reason(self, layers: list[_Layer]) -> str:
        if any(_CERTIFICATE in (layer.annotations or {}) for layer in layers):
            return (
                "its cosign signature was made without a key of one's own (keyless): that cannot "
                "be checked here; 'cosign verify' can"
            )
        if not any(_SIGNATURE in (layer.annotations or {}) for layer in layers):
            return (
                "what cosign attached has no signature of the older form (a bundle, an "
                "attestation): that cannot be checked here; 'cosign verify' can"
            )
        return f"no cosign signature of it is good and made with the key {self._where}"


class _Signed:
    """What a release carries of manifests, signatures and payloads; all of it is untrusted."""

    def __init__(self, release: Release, where: str, blob: Blob) -> None:
        self._release = release
        self._where = where
        self._blob = blob

    def manifests(self) -> set[str]:
        """The digests of its own manifests that hold its archive. Raises BadSignature if none."""
        archive = f"sha256:{self._release.blob.digest}"
        found = {
            f"sha256:{attachment.digest}"
            for attachment in self._release.attachments
            if attachment.role == "manifest"
            and any(layer.digest == archive for layer in self._layers_of(attachment))
        }
        if not found:
            raise BadSignature(
                f"{self._where}: it came without the manifest of its archive, which cosign signs"
            )
        return found

    def layers(self) -> Iterator[_Layer]:
        """Those of the manifests of its signatures."""
        for attachment in self._release.attachments:
            if attachment.is_cosign:
                yield from self._layers_of(attachment)

    def payload(self, layer: _Layer) -> bytes | None:
        """What a layer names; None if it is no payload, or did not come with the release."""
        for attachment in self._release.attachments:
            if layer.media_type == _PAYLOAD and layer.digest == f"sha256:{attachment.digest}":
                return attached(attachment, _MAX_PAYLOAD, self._where, self._blob)
        return None

    def _layers_of(self, attachment: Attachment) -> list[_Layer]:
        data = attached(attachment, _MAX_MANIFEST, self._where, self._blob)
        return _read(data, _Manifest, f"{self._where}: a manifest").layers


def _read(data: bytes, kind: type[T], where: str) -> T:
    """JSON of a stranger. Raises BadSignature."""
    try:
        value: Any = parse_json(data, where, _MAX_MANIFEST)
        return typed.convert(value, kind)
    except (InputError, msgspec.ValidationError) as error:
        raise BadSignature(f"{where} attached to it cannot be read: {error}") from error


def _image_in(payload: bytes, where: str) -> str:
    """The digest of the manifest that a payload speaks of. Raises BadSignature."""
    critical = _read(payload, _Payload, f"{where}: the text that cosign signed,").critical
    if critical.type != _TYPE:
        raise BadSignature(f"{where}: what cosign signed is not {_TYPE!r}")
    return critical.image.docker_manifest_digest


def _public_key(data: bytes, where: str) -> _Key:
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{where}: not a public key in PEM ('cosign public-key --key KEY > FILE' writes one)"
        ) from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA:
        return key
    raise InputError(
        f"{where}: a key of this kind cannot be used here; ECDSA on P-256, RSA of {_MIN_RSA} bits "
        "or more, and ed25519 can"
    )


def _verify(key: _Key, signature: bytes, payload: bytes) -> None:
    """Raises InvalidSignature."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, payload)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, payload, padding.PKCS1v15(), SHA256())
    else:
        key.verify(signature, payload, ec.ECDSA(SHA256()))
