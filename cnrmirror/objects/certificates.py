"""Whose word is taken for a host's name: the certificates of authorities; and a client's own.

All libraries that speak TLS here follow one rule. The first of these that is named counts, and what
is named must be there: a source's own ``ca_file`` (a bucket's ``AWS_CA_BUNDLE``);
``REQUESTS_CA_BUNDLE``; ``CURL_CA_BUNDLE``; ``SSL_CERT_FILE``; ``SSL_CERT_DIR``; then the system's
store; then certifi's.
"""

from __future__ import annotations

import os
import re
import ssl
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cnrmirror.model.errors import InputError
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from requests import utils as requests_utils
    from urllib3.util import ssl_ as urllib3_ssl
else:
    requests_utils = later("requests.utils")
    urllib3_ssl = later("urllib3.util.ssl_")


_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
CERTIFICATE_ADVICE = (
    " (certificate verify failed); if it is a private authority's, name its certificate: a "
    "source's ca_file, AWS_CA_BUNDLE for buckets, REQUESTS_CA_BUNDLE for all"
)
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class Authorities(msgspec.Struct, frozen=True):
    """Certificates of authorities: in one file, or in folders where their hash names them.

    ``folders`` is as OpenSSL takes it: separated as in PATH. ``named``: somebody named them.
    """

    file: str = ""
    folders: str = ""
    named: bool = True

    def text(self) -> str:
        """All of them, in PEM."""
        paths = [Path(self.file)] if self.file else [Path(p) for p in _hashed(self.folders)]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)

    def as_file(self, owner: object) -> str:
        """One file of all of them; one that has to be made lives as long as its owner."""
        if self.file:
            return self.file
        descriptor, path = tempfile.mkstemp(".pem", "cnrmirror-")
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(self.text())
        weakref.finalize(owner, os.unlink, path)
        return path


def authorities(
    own: str = "", own_name: str = "ca_file", environment: Mapping[str, str] = os.environ
) -> Authorities:
    """The certificates that a host's own is held against.

    Args:
        own: a file that goes before what the environment names; "" for none.
        own_name: what errors call it.
        environment: where the others are named.

    Raises:
        InputError: what is named is not there.
    """
    named = [(own_name, own), *((name, environment.get(name, "")) for name in _VARIABLES)]
    for name, path in named:
        if path:
            return _at(name, path)
    system = ssl.get_default_verify_paths()
    if os.path.isfile(system.openssl_cafile):
        return Authorities(system.openssl_cafile, named=False)
    if any(_hashed(system.openssl_capath)):
        return Authorities(folders=system.openssl_capath, named=False)
    return Authorities(requests_utils.DEFAULT_CA_BUNDLE_PATH, named=False)


def _at(name: str, path: str) -> Authorities:
    """What is at a path that somebody named. Raises InputError."""
    if os.path.isfile(path) and name != "SSL_CERT_DIR":
        return Authorities(path)
    folders = [folder for folder in path.split(os.pathsep) if os.path.isdir(folder)]
    if name == "SSL_CERT_FILE" or not folders:
        kind = "folder" if name == "SSL_CERT_DIR" else "file"
        raise InputError(f"{name}: {path}: there is no such {kind} of certificates")
    if not any(_hashed(path)):
        raise InputError(
            f"{name}: {path}: no certificate in it is named by its hash: openssl rehash {path}"
        )
    return Authorities(folders=path)


def _hashed(folders: str) -> Iterator[str]:
    """The files that OpenSSL finds in folders."""
    for folder in filter(os.path.isdir, folders.split(os.pathsep)):
        for name in sorted(filter(_HASHED.fullmatch, os.listdir(folder))):
            yield os.path.join(folder, name)


def not_vouched_for(error: BaseException) -> str:
    """Why a host's certificate is not believed, with what to do; "" for an error of another kind.

    The libraries wrap OpenSSL's error in their own, as a cause, an argument or ``error``.
    """
    left, seen = [error], set[int]()
    while left:
        found = left.pop()
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"{found.verify_message or found}{CERTIFICATE_ADVICE}"
        if id(found) in seen:
            continue
        seen.add(id(found))
        near = [found.__cause__, found.__context__, *found.args, getattr(found, "reason", None)]
        near.append(getattr(found, "kwargs", {}).get("error"))
        left += [other for other in near if isinstance(other, BaseException)]
    return ""


class Tls(msgspec.Struct, frozen=True):
    """What a host is known by, and what it knows its client by: files.

    Args:
        ca_file: certificates of authorities that go before those of the environment.
        ca_name: what errors call it.
        certificate: the client's own, for a host that demands one.
        key: its key; "" if it is in the same file.
    """

    ca_file: str = ""
    ca_name: str = "ca_file"
    certificate: str = ""
    key: str = ""

    @property
    def authorities(self) -> Authorities:
        """See ``authorities``."""
        return authorities(self.ca_file, self.ca_name)

    def context(self, ours: bool) -> ssl.SSLContext:
        """How connections are made.

        Args:
            ours: to the host that may have the client's certificate.

        Raises:
            InputError: a file is not there, or not what it must be.
        """
        context = urllib3_ssl.create_urllib3_context()
        found = self.authorities
        try:
            context.load_verify_locations(found.file or None, found.folders or None)
        except OSError as error:
            reason = f"no certificates can be read from it: {error}"
            raise InputError(f"{found.file or found.folders}: {reason}") from error
        if self.certificate and ours:
            try:
                # Without a password OpenSSL would ask the terminal for that of an encrypted key.
                context.load_cert_chain(self.certificate, self.key or None, password="")
            except (OSError, ValueError) as error:
                reason = f"not a certificate with its key, unencrypted: {error}"
                raise InputError(f"client_certificate: {self.certificate}: {reason}") from error
        return context

    def of_redis(self, url: str) -> dict[str, Any]:
        """The arguments of redis-py for an address; they are added to the system's store there.

        Raises:
            InputError: what is named is not there.
        """
        if not url.startswith("rediss:"):
            return {}
        found = self.authorities
        files = {
            "ssl_ca_certs": found.file,
            "ssl_ca_path": found.folders,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key or self.certificate,
        }
        return {name: path for name, path in files.items() if path}
