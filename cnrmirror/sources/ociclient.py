"""An OCI registry, asked: its repositories, tags, manifests and blobs (distribution-spec 1.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

from cnrmirror.model import oci
from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import HEX64
from cnrmirror.model.errors import AccessDenied, InvalidDocument, Tampered
from cnrmirror.objects.base import CachedAnswer, Extra, WebReader
from cnrmirror.objects.origin import origin
from cnrmirror.sources.answers import refuse_page
from cnrmirror.sources.ociauth import Credentials
from cnrmirror.sources.ocimanifests import INDEXES, MANIFESTS, MAX_MANIFEST, Manifest, read

T = TypeVar("T")
MAX_PAGE = 8 << 20
_MAX_PAGES = 10_000
_MAX_ROWS = 2_000_000
_PAGE = 1000
_MAX_KEPT = 64 << 20
_MAX_LINK = 8192
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel="?next"?')
_ACCEPT = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}


class Client:
    """One registry.

    Args:
        http: asks.
        base: the registry's address, without a path.
        own: whether the reader's credentials are for it.
    """

    def __init__(self, http: WebReader, base: str, own: bool = True) -> None:
        self.base = base
        self._http = http
        self._credentials = Credentials(http, base, http.authorization if own else "")
        self._manifests: dict[str, bytes] = {}
        self._room = _MAX_KEPT

    def repositories(self) -> list[Any]:
        """The rows of the catalog, unread."""
        return self._pages(f"{self.base}/v2/_catalog", "registry:catalog:*", "repositories")

    def tags(self, repository: str) -> list[Any]:
        """The rows of a repository's list of tags, unread."""
        return self._pages(f"{self._of(repository)}/tags/list", _pull(repository), "tags")

    def manifest(self, repository: str, reference: str) -> Manifest:
        """A manifest or index, by its tag or by ``sha256:HEX``.

        Raises:
            Tampered: other bytes than the digest says that was asked for, or answered.
            As ``Source.look`` does.
        """
        url = f"{self._of(repository)}/manifests/{reference}"
        wanted = ("Docker-Content-Digest", "Content-Type")
        answer = self._document(url, _pull(repository), MAX_MANIFEST, _ACCEPT, wanted)
        found = read(answer.body, url, answer.said.get("Content-Type", ""))
        for said in (answer.said.get("Docker-Content-Digest", ""), reference):
            if said.startswith("sha256:") and said != f"sha256:{found.digest}":
                raise Tampered(f"{url}: the answer has sha256 {found.digest}, {said} was announced")
        self._keep(found)
        return found

    def manifest_bytes(self, repository: str, digest: str) -> bytes:
        """The bytes of a manifest; most that were asked for before are kept."""
        kept = self._manifests.get(digest)
        return kept if kept is not None else self.manifest(repository, f"sha256:{digest}").data

    def _keep(self, manifest: Manifest) -> None:
        if manifest.digest not in self._manifests and len(manifest.data) <= self._room:
            self._room -= len(manifest.data)
            self._manifests[manifest.digest] = manifest.data

    def referrers(self, repository: str, digest: str) -> Any:
        """What refers to a manifest, unread."""
        url = f"{self._of(repository)}/referrers/sha256:{digest}"
        accept = {"Accept": oci.OCI_INDEX}
        answer = self._document(url, _pull(repository), MAX_MANIFEST, accept, ())
        return _json(answer.body, url, MAX_MANIFEST)

    def blob(self, repository: str, digest: str, max_bytes: int) -> Iterator[bytes]:
        """The bytes of a blob, piece by piece."""
        url = f"{self._of(repository)}/blobs/sha256:{digest}"
        scope = _pull(repository)
        authorization = self._credentials.of(scope)
        try:
            yield from self._get(url, max_bytes, authorization)
        except AccessDenied as refusal:  # which comes before the first piece
            authorization = self._credentials.after(refusal, scope, authorization)
            yield from self._get(url, max_bytes, authorization)

    def _get(self, url: str, max_bytes: int, authorization: str) -> Iterator[bytes]:
        extra = Extra(authorization=authorization)
        return self._http.get(url, max_bytes, as_sent=True, extra=extra)

    def _document(
        self, url: str, scope: str, max_bytes: int, headers: dict[str, str],
        wanted: tuple[str, ...],
    ) -> CachedAnswer:  # fmt: skip
        def ask(authorization: str) -> CachedAnswer:
            extra = Extra(headers, authorization, wanted)
            return self._http.document(url, max_bytes, extra=extra)

        return self._with(scope, ask)

    def _with(self, scope: str, ask: Callable[[str], T]) -> T:
        authorization = self._credentials.of(scope)
        try:
            return ask(authorization)
        except AccessDenied as refusal:
            return ask(self._credentials.after(refusal, scope, authorization))

    def _of(self, repository: str) -> str:
        return f"{self.base}/v2/{quote(repository, safe='/')}"

    def _pages(self, url: str, scope: str, key: str) -> list[Any]:
        """The rows of a list that may come in pages.

        Raises:
            Tampered: a page leads to another host.
            InvalidDocument: not such a list, or one without an end.
        """
        found: list[Any] = []
        seen: set[str] = set()
        following = f"{url}?n={_PAGE}"
        while following:
            if following in seen or len(seen) >= _MAX_PAGES:
                raise InvalidDocument(f"{url}: its pages have no end")
            seen.add(following)
            headers = {"Accept": "application/json"}
            answer = self._document(following, scope, MAX_PAGE, headers, ("Link",))
            found += _rows(_json(answer.body, following, MAX_PAGE), key, following)
            if len(found) > _MAX_ROWS:
                raise InvalidDocument(f"{url}: more than {_MAX_ROWS} rows")
            following = self._next(following, answer.said.get("Link", ""))
        return found

    def _next(self, url: str, link: str) -> str:
        match = _NEXT.search(link[:_MAX_LINK])
        if match is None:
            return ""
        try:
            following: str = urljoin(url, str(match[1]))
            ours = origin(following) == origin(self.base)
        except ValueError:
            following, ours = str(match[1]), False
        if not ours:
            raise Tampered(f"{url}: its next page is on another host: {following:.200}")
        return following


def is_repository(name: object) -> bool:
    """Whether a repository can be called so (distribution-spec, "pulling manifests")."""
    return isinstance(name, str) and len(name) <= 255 and bool(_REPOSITORY.fullmatch(name))


def is_tag(name: object) -> bool:
    """Whether a tag can be called so."""
    return isinstance(name, str) and bool(_TAG.fullmatch(name))


def is_reference(text: str) -> bool:
    """Whether a text is a tag, or ``sha256:HEX``."""
    return is_tag(text) or bool(HEX64.fullmatch(text.removeprefix("sha256:")))


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _json(data: bytes, url: str, max_bytes: int) -> Any:
    refuse_page(data, url, "JSON")
    return parse_json(data, url, max_bytes)


def _rows(value: Any, key: str, url: str) -> list[Any]:
    rows = value.get(key, 0) if isinstance(value, dict) else 0
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise InvalidDocument(f"{url}: a list of {key} was expected")
    return rows
