"""What a mirror elsewhere says of its views, and where it may be asked for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, Tampered
from cnrmirror.model.names import Vendor
from cnrmirror.objects.base import Reader, read
from cnrmirror.views import openapi
from cnrmirror.views.layout import key_of
from cnrmirror.views.openapi import OpenApi
from cnrmirror.views.pages import Pages, PagesForm
from cnrmirror.views.site import Site, ViewSettings
from cnrmirror.views.templates import digest_of_templates

ADDRESS = ".well-known/app-registry-uri.json"
OCI = ("v2/index.json", "v2/_catalog")
_MAX_FIXED = 1 << 20


def addresses(reader: Reader, site: Site, path: str) -> list[str]:
    """Where a file of a view may be asked for; the usual place first."""
    match reader.views:
        case "files":
            # A copy for hosts that only know index.html has no other.
            page = f"{path.removesuffix('.json')}.html" if path.endswith("/index.json") else path
            return list(dict.fromkeys((path, page)))
        case "addresses":
            url = site.address(path) or path
            # Many hosts ignore queries. What they mean is under its own key in a bucket, and under
            # its own path in a site.
            return list(dict.fromkeys((url, key_of(path), path))) if "?" in url else [url]
        case _:
            return list(dict.fromkeys((key_of(path), path)))


def site_at(
    reader: Reader, settings: Mapping[str, Any], templates: Mapping[str, str], pages: bool
) -> tuple[Site, str]:
    """The views as a mirror says that it has them, and where it sends clients.

    Args:
        settings: those of the catalog root, which say which views there are.
        templates: the mirror's own ones of its pages, if they are here.
        pages: whether pages are compared, too.

    Raises:
        CnrMirrorError: it does not say.
    """
    host = _Host(reader)
    address = parse_json(host.ask(ADDRESS), ADDRESS)
    prefix = address.get("prefix") if isinstance(address, dict) else None
    if not isinstance(prefix, str) or not prefix.endswith("/cnr/"):
        raise Tampered(f"{ADDRESS}: its prefix is {prefix!r:.200}")
    url = prefix.removesuffix("/cnr/")
    vendor: Vendor = "appr"
    with suppress(CnrMirrorError):
        if b"cnr-api" in host.ask("cnr/version/index.json"):
            vendor = "cnr"
    # What an older program did not say, it had not.
    said = ViewSettings.from_catalog({"helm": False, "oci": False, **settings})
    form = msgspec.structs.replace(
        said, dialect=vendor, precompress=False, oci=said.oci and any(map(host.is_there, OCI))
    )
    unknown = [] if pages and not pages_unknown(settings, templates) else ["pages", "search"]
    absent: list[str] = []
    if settings.get(OpenApi.name) != OpenApi.version:
        # A follower's newer program writes it for a catalog that does not say so.
        there = OpenApi.name in settings or host.has_file(openapi.PATH)
        (unknown if there else absent).append(OpenApi.name)
    elif said.oci and not form.oci and host.names_registry():
        unknown.append(OpenApi.name)
    site = Site(form, url, rules=False, templates=templates, unknown=unknown, absent=absent)
    return site, url


class _Host:
    """What a mirror is asked before it is known which views it has."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._site = Site(ViewSettings(precompress=False), "")

    def _open(self, path: str, max_bytes: int) -> Iterator[bytes]:
        return self._reader.ask(addresses(self._reader, self._site, path)[0], max_bytes)

    def ask(self, path: str) -> bytes:
        """A file. Raises CnrMirrorError."""
        return read(self._open(path, _MAX_FIXED))

    def is_there(self, path: str) -> bool:
        """Whether there is a file. Raises CnrMirrorError."""
        try:
            next(self._open(path, 1), b"")
        except IncompleteError:
            return False
        except Tampered:  # longer than a byte
            return True
        return True

    def has_file(self, path: str) -> bool:
        """Whether a folder has a file."""
        return self._reader.folder is not None and (self._reader.folder / path).exists()

    def names_registry(self) -> bool:
        """Whether its OpenAPI document is that of a mirror that is an OCI registry, too."""
        with suppress(CnrMirrorError):
            return b'"/v2/"' in self.ask(openapi.PATH)
        return False


def openapi_unknown(site: Site, settings: Mapping[str, Any]) -> str:
    """Why a mirror's OpenAPI document is not compared; "" if it is, or if there is none.

    Args:
        settings: those of the catalog root.
    """
    if site.renders(openapi.PATH):
        return ""
    if settings.get(OpenApi.name) == OpenApi.version:
        return "not compared: it names an OCI registry, and there is none here"
    return f"not compared: its catalog does not name version {OpenApi.version} of the renderer"


def pages_unknown(settings: Mapping[str, Any], templates: Mapping[str, str]) -> str:
    """Why the bytes of a mirror's pages cannot be said; "" if they can, or if it has none.

    Args:
        settings: those of the catalog root.
        templates: the mirror's own ones, if they are here.
    """
    form = PagesForm.of(settings)
    if form is None:
        return ""
    if form.version != Pages.version:
        return (
            f"not compared: made by version {form.version} of the renderer, and this program has "
            f"version {Pages.version}"
        )
    if form.templates != digest_of_templates(templates):
        own = "own templates, not compared; --templates DIR gives them"
        return own if not templates else "not compared: the templates are not those of the mirror"
    return ""
