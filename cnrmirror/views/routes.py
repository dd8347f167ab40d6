"""The one table that maps the registry's URLs to files.

``cnrmirror serve`` follows it directly; the generated server configurations say the same in the
languages of nginx, Caddy, Apache and lighttpd, and the tests hold them against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from cnrmirror.model.resource import GZIP_TYPE, JSON_TYPE
from cnrmirror.views.cnr_paths import ANY, PACKAGES, PACKAGES_BY, PREFIX

_NAME = r"[^/]+"
_PACKAGE = rf"(?P<package>{_NAME}/{_NAME})"
_ROUTES = [
    (kind, re.compile(pattern + "/?"))
    for kind, pattern in (
        ("version", r"/version"),
        ("packages", r"/api/v1/packages"),
        ("search", r"/api/v1/packages/search"),
        ("releases", rf"/api/v1/packages/{_PACKAGE}"),
        ("channels", rf"/api/v1/packages/{_PACKAGE}/channels"),
        ("channel", rf"/api/v1/packages/{_PACKAGE}/channels/(?P<channel>{_NAME})"),
        (
            "blob",
            rf"/api/v1/packages/{_PACKAGE}/blobs/sha256/(?P<digest>{_NAME})(?P<json>/json)?",
        ),
        ("release", rf"/api/v1/packages/{_PACKAGE}/(?P<release>{_NAME})"),
        ("manifest", rf"/api/v1/packages/{_PACKAGE}/(?P<release>{_NAME})/(?P<media_type>{_NAME})"),
        (
            "pull",
            rf"/api/v1/packages/{_PACKAGE}/(?P<release>{_NAME})/(?P<media_type>{_NAME})"
            r"/pull(?P<json>/json)?",
        ),
    )
]


class Route(msgspec.Struct, frozen=True):
    """One call of the API: what is asked, of which package, with which arguments."""

    kind: str
    arguments: dict[str, str]
    query: dict[str, str]

    @property
    def package(self) -> str | None:
        return self.arguments.get("package")

    @property
    def wants_json(self) -> bool:
        """Whether an archive is asked for in its JSON form."""
        return "json" in self.arguments or self.query.get("format") == "json"

    @property
    def content_type(self) -> str:
        archive = self.kind in ("blob", "pull") and not self.wants_json
        return GZIP_TYPE if archive else JSON_TYPE

    @property
    def path(self) -> str:
        """The file of the site that answers, if there is one; aliases not followed."""
        values = {**self.query, **self.arguments}
        base = f"{PACKAGES}/{self.package}"
        twin = ".json" if self.wants_json else ""
        match self.kind:
            case "version":
                return f"{PREFIX}/version/index.json"
            case "packages":
                namespace, media_type = values.get("namespace"), values.get("media_type")
                if namespace or media_type:
                    return f"{PACKAGES_BY}/{namespace or ANY}/{media_type or ANY}.json"
                return f"{PACKAGES}/index.json"
            case "search":
                return f"{PACKAGES}/search/index.json"
            case "releases":
                wanted = values.get("media_type")
                return f"{base}/type-{wanted}.json" if wanted else f"{base}/index.json"
            case "channels":
                return f"{base}/channels/index.json"
            case "channel":
                return f"{base}/channels/{values['channel']}/index.json"
            case "blob":
                return f"{base}/blobs/sha256/{values['digest']}{twin}"
            case "release":
                return f"{base}/{values['release']}/index.json"
            case "manifest":
                return f"{base}/{values['release']}/{values['media_type']}/index.json"
            case _:
                return f"{base}/{values['release']}/{values['media_type']}/pull{twin}"


def route(url_path: str, query: Mapping[str, str]) -> Route | None:
    """The call behind a decoded URL path; None if the API has no such path.

    Both prefixes are understood: ``/cnr/api/…`` and ``/api/…``.
    """
    path = url_path.removeprefix(f"/{PREFIX}")
    for kind, pattern in _ROUTES:
        match = pattern.fullmatch(path)
        if match:
            arguments = {k: v for k, v in match.groupdict().items() if v is not None}
            return Route(kind, arguments, dict(query))
    return None
