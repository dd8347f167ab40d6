"""Helm's provenance (``.prov``), checked against OpenPGP keys that somebody has.

It is a clear-signed text: the Chart.yaml, a line ``...``, and the digest of the archive below
``files`` (helm.sh/docs/topics/provenance). Only the text that the library gives back as signed is
read. Needs the extra ``cnrmirror[provenance]``: import this module only where that is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pysequoia
import yaml
from pysequoia.packet import PacketPile

from cnrmirror.archive.identify import plain_release
from cnrmirror.archive.yamltext import fields_of, mapping_in
from cnrmirror.archive.yamlvalues import MAX_VALUES, most_values
from cnrmirror.client.signatures import Blob, Signer, attached
from cnrmirror.model.documents import Release
from cnrmirror.model.errors import BadSignature, InputError
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import PackageName
from cnrmirror.model.oci import MAX_PROVENANCE

MAX_KEYRING = 16 << 20
_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----"
_BETWEEN = b"\n...\n"
_HOW = "a file that 'gpg --export NAME > FILE' writes is needed"


class Keyring:
    """Public keys, as ``gpg --export`` writes them, armored or not; a ``Check`` of provenance.

    Args:
        data: the file.
        where: what errors call it.
        now: a key that has expired by then counts no more.

    Raises:
        InputError: no keys, or secret ones.
    """

    kind = "provenance"

    def __init__(self, data: bytes, where: str, now: datetime) -> None:
        self._where = where
        self._now = now
        try:
            certs = pysequoia.Cert.split_bytes(data)
            self._ids = {name for cert in certs for name in _key_ids(cert)}
        except RuntimeError as error:
            raise InputError(f"{where}: not a keyring of OpenPGP keys: {_HOW}") from error
        self._certs = {cert.fingerprint.lower(): cert for cert in _public(certs, where)}

    def __call__(self, package: str, release: Release, blob: Blob) -> Signer:
        """See ``Check``; of several files, one has to be good."""
        where = f"{package}@{release.release}"
        failure = BadSignature(f"{where} carries no provenance (.prov): nobody signed it that way")
        for attachment in release.attachments:
            if not attachment.is_provenance:
                continue
            try:
                data = attached(attachment, MAX_PROVENANCE, f"{where}: its .prov", blob)
                return self.signer(data, package, release)
            except BadSignature as error:
                failure = error
        raise failure

    def signer(self, data: bytes, package: str, release: Release) -> Signer:
        """Who signed this ``.prov`` file. Raises BadSignature if it is not one of the release."""
        where = f"{package}@{release.release}: its .prov"
        text, cert, time = self._verified(data, where)
        try:
            _match(text, where, package, release)
        except InputError as error:
            raise BadSignature(error.message) from error
        names = [str(user) for user in cert.user_ids]
        return Signer(self.kind, cert.fingerprint.lower(), names, time)

    def _verified(self, data: bytes, where: str) -> tuple[bytes, pysequoia.Cert, str]:
        """The signed text, the key that signed it, and when."""
        if data.count(_SIGNED) != 1:
            raise BadSignature(f"{where} is not one clear-signed text: it cannot be checked here")
        data = data[data.index(_SIGNED) :]
        asked: list[str] = []

        def store(wanted: list[str]) -> list[pysequoia.Cert]:
            asked.extend(wanted)
            return list(self._certs.values())

        try:
            found = pysequoia.verify(data, store)
        except RuntimeError as error:  # the library has no other, and its text is a backtrace
            raise BadSignature(f"{where} {self._reason(asked)}") from error
        good = [cert for sig in found.valid_sigs if (cert := self._certs.get(sig.certificate))]
        alive = [cert for cert in good if not self._expired(cert)]
        if not alive or found.bytes is None:
            raise BadSignature(
                f"{where} is signed by a key of {self._where} that has expired; if its owner made "
                "it valid for longer, export it anew"
            )
        return found.bytes, alive[0], _time(data)

    def _reason(self, asked: Collection[str]) -> str:
        if not asked:
            return "is damaged: it has no signature that can be read"
        if self._ids.isdisjoint(name.lower() for name in asked):
            return f"is signed by {', '.join(asked)}: that key is not in {self._where}"
        return f"has a bad signature: it is not the text that a key of {self._where} signed"

    def _expired(self, cert: pysequoia.Cert) -> bool:
        return cert.expiration is not None and cert.expiration <= self._now


def _public(certs: list[pysequoia.Cert], where: str) -> list[pysequoia.Cert]:
    """The same, if they are some, and public. Raises InputError."""
    if not certs:
        raise InputError(f"{where}: there is no key in it: {_HOW}")
    with warnings.catch_warnings():  # that secret keys are to be read otherwise
        warnings.simplefilter("ignore", DeprecationWarning)
        if any(cert.has_secret_keys for cert in certs):
            raise InputError(f"{where}: there are secret keys in it, and none is needed: {_HOW}")
    return certs


def _key_ids(cert: pysequoia.Cert) -> set[str]:
    """The names that signatures may give to a key or to one of its subkeys, in lower case."""
    keys = list(PacketPile.from_bytes(bytes(cert)))
    return {name.lower() for key in keys for name in (key.fingerprint, key.key_id) if name}


def _time(data: bytes) -> str:
    """When it was signed; "" where several signatures say something of that."""
    try:
        found = list(PacketPile.from_bytes(data[data.index(_SIGNATURE) + 1 :]))
    except (ValueError, RuntimeError):
        return ""
    created = found[0].signature_created if len(found) == 1 else None
    return str(Instant(created.astimezone(UTC))) if created else ""


def _match(text: bytes, where: str, package: str, release: Release) -> None:
    """Raises BadSignature, InputError if a signed text does not speak of a release."""
    parts = text.replace(b"\r\n", b"\n").split(_BETWEEN)
    if len(parts) != 2:
        raise BadSignature(f"{where}: what is signed is not a Chart.yaml and digests of files")
    if max(map(most_values, parts)) > MAX_VALUES:
        raise BadSignature(f"{where}: what is signed has more values than are read")
    chart, sums = (fields_of(mapping_in(part, where), where) for part in parts)
    name, version = _text(chart, "name"), _text(chart, "version")
    ours = PackageName.parse(package).name
    if (name, plain_release(version)) != (ours, release.release):
        raise BadSignature(f"{where} was signed for {name} {version}, not for this release")
    files = sums.get("files")
    listed = fields_of(files, where) if isinstance(files, yaml.MappingNode) else {}
    archive = f"{name}-{version}.tgz"
    if archive not in listed:
        raise BadSignature(f"{where} does not give the digest of {archive}")
    if _text(listed, archive) != f"sha256:{release.blob.digest}":
        raise BadSignature(f"{where} was signed for another archive of this name")


def _text(fields: Mapping[str, yaml.Node], key: str) -> str:
    found = fields.get(key)
    return found.value if isinstance(found, yaml.ScalarNode) else ""
