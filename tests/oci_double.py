"""A registry that speaks as much of OCI as is asked of it, in memory; it can lie."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cnrmirror.model import oci

CONFIG = b'{"name": "x"}'
INDEX_TYPES = (oci.OCI_INDEX, oci.DOCKER_LIST)
BASIC = "Basic " + base64.b64encode(b"user:password").decode()
Answer = tuple[int, bytes, dict[str, str]]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def named(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}


class Registry:
    """Repositories with tags, manifests and blobs.

    ``auth``: "", "basic" or "token". ``page``: how many rows a page has at the most. ``referrers``:
    whether it has the list. ``moved``: where blobs are redirected to, or "". ``answers``: what is
    answered in the place of the truth, by path.
    """

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.auth = ""
        self.anonymous = True
        self.page = 100
        self.referrers = True
        self.moved = ""
        self.realm = ""
        self.answers: dict[str, Answer] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.seen: list[tuple[str, str]] = []
        self.tokens = 0
        self._valid: set[str] = set()
        self._lock = threading.Lock()

    # -- what is in it ----------------------------------------------------------------------------

    def put(
        self, repository: str, tag: str, layers: list[tuple[bytes, str]], *,
        config: tuple[bytes, str] = (CONFIG, oci.HELM_CONFIG), **more: Any,
    ) -> str:  # fmt: skip
        """A manifest with its blobs, under a tag if one is given; its digest."""
        for data, _ in (config, *layers):
            self.blobs[digest_of(data)] = data
        body = {"schemaVersion": 2, "mediaType": oci.OCI_MANIFEST, "config": named(*config),
                "layers": [named(*layer) for layer in layers], **more}  # fmt: skip
        return self.manifest(repository, tag, json.dumps(body).encode(), oci.OCI_MANIFEST)

    def manifest(self, repository: str, tag: str, data: bytes, media_type: str) -> str:
        digest = digest_of(data)
        self.manifests[repository, digest] = data, media_type
        self.tags.setdefault(repository, {})
        if tag:
            self.tags[repository][tag] = digest
        return digest

    def index(self, repository: str, tag: str, members: list[dict[str, Any]]) -> str:
        body = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": members}
        return self.manifest(repository, tag, json.dumps(body).encode(), oci.OCI_INDEX)

    def chart(self, repository: str, tag: str, archive: bytes, prov: bytes = b"") -> str:
        """A chart, as helm pushes it."""
        layers = [(archive, oci.HELM_LAYER)]
        layers += [(prov, oci.HELM_PROVENANCE)] if prov else []
        return self.put(repository, tag, layers)

    # -- over HTTP --------------------------------------------------------------------------------

    def __call__(self, handler: BaseHTTPRequestHandler, path: Path) -> bool:
        given = handler.headers.get("Authorization", "")
        with self._lock:
            self.seen.append((handler.path, given))
        base = f"http://{handler.headers['Host']}"
        status, body, headers = self.answer(handler.path, given, base)
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True
        return True

    def asked(self) -> Counter[str]:
        """How often what was asked for."""
        found: Counter[str] = Counter()
        for path, _ in self.seen:
            parts = urlsplit(path).path.split("/")
            kind = parts[-1] if parts[-1] in ("list", "_catalog", "token") else parts[-2]
            found[{"list": "tags"}.get(kind, kind)] += 1
        return found

    def answer(self, address: str, given: str, base: str) -> Answer:
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        if address in self.answers or path in self.answers:
            return self.answers.get(address) or self.answers[path]
        if path == "/token":
            return self._token(query, given)
        repository = path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        if refusal := self._refusal(repository, path, given, base):
            return refusal
        status, body, headers = self._answer(path, repository, query)
        return status, body, {**headers, **self.headers.get(path, {})}

    def _answer(self, path: str, repository: str, query: dict[str, list[str]]) -> Answer:
        last = path.rpartition("/")[2]
        if path == "/v2/_catalog":
            return self._rows("repositories", sorted(self.tags), path, query)
        if path.endswith("/tags/list"):
            if repository not in self.tags:
                return 404, b"{}", {}
            return self._rows("tags", sorted(self.tags[repository]), path, query)
        if path.endswith(f"/referrers/{last}"):
            return self._referrers(repository, last)
        if path.endswith(f"/blobs/{last}"):
            if self.moved:
                return 307, b"", {"Location": f"{self.moved}/{last}"}
            return (200, self.blobs[last], {}) if last in self.blobs else (404, b"{}", {})
        digest = self.tags.get(repository, {}).get(last, last)
        if (repository, digest) not in self.manifests:
            return 404, b"{}", {}
        body, media_type = self.manifests[repository, digest]
        return 200, body, {"Content-Type": media_type, "Docker-Content-Digest": digest}

    def _rows(self, key: str, rows: list[str], path: str, query: dict[str, list[str]]) -> Answer:
        count = min(self.page, int(query.get("n", ["100"])[0]))
        begin = query.get("last", [""])[0]
        rest = [row for row in rows if row > begin]
        body = json.dumps({key: rest[:count]}).encode()
        if len(rest) <= count:
            return 200, body, {}
        return 200, body, {"Link": f'<{path}?last={rest[count - 1]}&n={count}>; rel="next"'}

    def _referrers(self, repository: str, digest: str) -> Answer:
        if not self.referrers:
            return 404, b"{}", {}
        members = []
        for (where, _), (data, media_type) in self.manifests.items():
            body = json.loads(data)
            if where == repository and body.get("subject", {}).get("digest") == digest:
                members.append(named(data, media_type))
        body = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": members}
        return 200, json.dumps(body).encode(), {"Content-Type": oci.OCI_INDEX}

    # -- who may ----------------------------------------------------------------------------------

    def _refusal(self, repository: str, path: str, given: str, base: str) -> Answer | None:
        if not self.auth or (self.auth == "basic" and given == BASIC):
            return None
        scope = f"repository:{repository}:pull"
        if path == "/v2/_catalog":
            scope = "registry:catalog:*"
        if self.auth == "basic":
            return 401, b"{}", {"WWW-Authenticate": 'Basic realm="registry"'}
        if given in {f"Bearer {token}" for token in self._valid if token.startswith(f"{scope}|")}:
            return None
        realm = self.realm or f"{base}/token"
        challenge = f'Bearer realm="{realm}",service="registry",scope="{scope}"'
        return 401, b"{}", {"WWW-Authenticate": challenge}

    def _token(self, query: dict[str, list[str]], given: str) -> Answer:
        if (given or not self.anonymous) and given != BASIC:
            return 401, b"{}", {"WWW-Authenticate": 'Basic realm="tokens"'}
        with self._lock:
            self.tokens += 1
            token = f"{query['scope'][0]}|{self.tokens}"
            self._valid.add(token)
        return 200, json.dumps({"token": token, "expires_in": 60}).encode(), {}

    def expire(self) -> None:
        """No token is worth anything any more."""
        self._valid.clear()
