"""Certificates for a cluster: an authority of its own, and one certificate for each part.

TLS of both sides (RFC 8446): whoever has a certificate of this authority is let in, and nobody
else.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PARTS = ("scheduler", "worker", "coordinator")
KEY = "-key.pem"
"""How the file of a private key ends."""
_BEFORE = timedelta(minutes=5)
_CURVE = ec.SECP256R1()


def certificates(days: int, now: datetime) -> dict[str, bytes]:
    """The files ca.pem, and for each of ``PARTS`` NAME.pem and NAME-key.pem, by their names.

    The key of the authority is not kept: when the certificates end, all are made anew.

    Args:
        days: how long they are good.
        now: UTC.
    """
    authority = ec.generate_private_key(_CURVE)
    named = _name("cnrmirror cluster authority")
    until = now + timedelta(days=days)
    made = {"ca.pem": _pem(_certificate(named, named, authority, authority, now, until, []))}
    for part in PARTS:
        key = ec.generate_private_key(_CURVE)
        subject = _name(f"cnrmirror cluster {part}")
        signed = _certificate(subject, named, key, authority, now, until, [part])
        made[f"{part}.pem"] = _pem(signed)
        made[f"{part}{KEY}"] = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey, now: datetime, until: datetime, hosts: Sequence[str],
) -> x509.Certificate:  # fmt: skip
    """A certificate; of the authority itself, if there are no hosts."""
    usage = x509.KeyUsage(
        digital_signature=bool(hosts), content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=not hosts, crl_sign=not hosts,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    maker = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _BEFORE).not_valid_after(until.astimezone(UTC))
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),
            critical=False,
        )
    )  # fmt: skip
    if hosts:
        # Each of them is asked by others, and asks others.
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        maker = maker.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        maker = maker.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
        )
    return maker.sign(authority, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
