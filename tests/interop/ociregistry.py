"""A real OCI registry server (docker-registry), open or behind a token service of our own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.interop.ports import free_port
from tests.interop.servers import need, running
from tests.loopback import on_loopback

USER, PASSWORD = "user", "password"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class TokenService:
    """Gives tokens for whatever is asked: to pull to anyone or not, for all else to the user."""

    def __init__(self, folder: Path, anonymous: bool) -> None:
        self.anonymous = anonymous
        self.asked: list[tuple[str, str]] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(name).public_key(self._key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1)).sign(self._key, hashes.SHA256())
        )  # fmt: skip
        self.bundle = folder / "tokens.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def answer(self, query: dict[str, list[str]], given: str) -> tuple[int, dict[str, Any]]:
        """The status and the document for a request."""
        scopes = query.get("scope", [])
        self.asked += [(scope, given) for scope in scopes]
        good = given == BASIC
        if given and not good:
            return 401, {}
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            wanted = actions.split(",")
            allowed = wanted if good else [a for a in wanted if a == "pull" and self.anonymous]
            access.append({"type": kind, "name": name, "actions": allowed})
        return 200, {"token": self._token(access), "expires_in": 120}

    def _token(self, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {"iss": "tokens", "sub": USER, "aud": "registry", "exp": now + 120,
                  "nbf": now - 5, "iat": now, "jti": str(now), "access": access}  # fmt: skip
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        text = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def giving_tokens(service: TokenService) -> Iterator[str]:
    """The address of a token service, as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            status, document = service.answer(query, self.headers.get("Authorization", ""))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            # Clients that try OAuth first ask in the plain way then.
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with on_loopback(Handler) as url:
        yield f"{url}/token"


@contextmanager
def registry_running(folder: Path, realm: str = "", bundle: Path | None = None) -> Iterator[str]:
    """An empty registry, as long as the block lasts; its HOST:PORT."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")},
                    "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }  # fmt: skip
    if realm:
        config["auth"] = {"token": {"realm": realm, "service": "registry", "issuer": "tokens",
                                    "rootcertbundle": str(bundle)}}  # fmt: skip
    (folder / "config.yml").write_text(json.dumps(config))
    command = [need("docker-registry"), "serve", str(folder / "config.yml")]
    with running(command, port, folder):
        yield f"127.0.0.1:{port}"
