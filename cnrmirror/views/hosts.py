"""Configurations for the site: nginx, Caddy, Apache, lighttpd; CloudFront, Netlify, Pages.

They say in four languages what ``routes`` says in Python; the tests hold each against it.
"""

from __future__ import annotations

import ipaddress
import re

from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.oci import OCI_INDEX
from cnrmirror.model.resource import GZIP_TYPE, JSON_TYPE, Resource
from cnrmirror.views.cnr_v1 import not_found
from cnrmirror.views.oci_paths import FOLDERS
from cnrmirror.views.templates import environment

_TEMPLATES = (
    "nginx.conf", "Caddyfile", "apache.conf", "lighttpd.conf", "lighttpd.lua", "cloudfront.js",
    "github-pages.yml",
)  # fmt: skip
HOST_FILES = ("_headers", "_redirects", "404.html")
"""What a host may want to find in the site itself, whichever host it is."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?=[^.]*[A-Za-z]){_LABEL}")


def host_files(host: str, json_pull: bool) -> list[Resource]:
    """What a host of static sites wants to find in the site itself.

    Args:
        host: netlify, cloudflare-pages or github-pages.
        json_pull: whether ``…/pull`` is there the archive's base64 form.
    """
    if host == "github-pages":
        return []  # the plain profile has what it wants
    templates = environment()
    values = {
        "queries": host == "netlify",
        "pull_type": JSON_TYPE if json_pull else GZIP_TYPE,
    }
    found = [
        Resource(
            name, templates.get_template(f"hosts/{name}").render(values).encode(), "text/plain"
        )
        for name in HOST_FILES[:2]
    ]
    if host == "cloudflare-pages":
        # Without it, Pages answers whatever is missing with index.html and 200.
        found.append(Resource(HOST_FILES[2], not_found()))
    return found


def listening(address: str) -> str:
    """An address to listen on as all servers take it: IPv6 in brackets. Raises InvalidDocument."""
    bare = address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        if _HOST.fullmatch(address):
            return address
        raise InvalidDocument(
            f"{address!r} is not an address to listen on: 127.0.0.1, ::1, localhost …"
        ) from None
    return f"[{found}]" if found.version == 6 else str(found)


def configurations(root: str, folder: str, address: str, port: int) -> dict[str, str]:
    """The configurations by file name.

    Args:
        root: the absolute path of ``site/`` on the host.
        folder: where the configurations themselves will lie (lighttpd includes a script).
        address, port: what to listen on.

    Raises:
        InvalidDocument: a path or address that would need quoting in one of the four languages.
    """
    for path in (root, folder):
        if not _PLAIN_PATH.fullmatch(path):
            raise InvalidDocument(
                f"{path}: server configurations need a plain path (letters, digits, . _ - + @); "
                "set hosts.root in mirror.yaml"
            )
    values = {
        "root": root, "folder": folder, "address": listening(address), "port": port,
        "folders": FOLDERS, "index_type": OCI_INDEX,
    }  # fmt: skip
    templates = environment()
    return {name: templates.get_template(f"hosts/{name}").render(values) for name in _TEMPLATES}
