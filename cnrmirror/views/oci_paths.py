"""The files of the OCI view by their paths: their folders, their order, their addresses.

::

    v2/index.json                         /v2/
    v2/404.json                           what a static host answers where there is nothing
    v2/_catalog                           every repository
    v2/REPO/manifests/TAG, …/sha256/HEX   OCI image manifests
    v2/REPO/indexes/…                     OCI indexes
    v2/REPO/docker/…, v2/REPO/lists/…     Docker's manifests and lists
    v2/REPO/blobs/sha256/HEX              what is no blob of the catalog: configs
    v2/REPO/tags/list
    v2/REPO/referrers/sha256/HEX

A server tells the media type of a manifest by its folder; clients ask ``/v2/REPO/manifests/…`` for
all four, and write a digest with a colon, which many a disk cannot have in a name.
"""

from __future__ import annotations

import re

from cnrmirror.model.documents import blob_path
from cnrmirror.model.oci import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from cnrmirror.views.base import LISTS_RANK, PACKAGE_RANK

TOP = "v2"
FOLDERS = {
    OCI_MANIFEST: "manifests", OCI_INDEX: "indexes", DOCKER_MANIFEST: "docker",
    DOCKER_LIST: "lists",
}  # fmt: skip
RESERVED = {*FOLDERS.values(), "blobs", "tags", "referrers"}
FORMATS = "formats"

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_FILE = re.compile(
    r"v2/(?P<repo>.+)/(?P<folder>manifests|indexes|docker|lists|blobs|referrers)/"
    r"(?P<name>sha256[/:][0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
)
_MAX_NAME = 255


def tag_of(release: str) -> str | None:
    """The tag of a release, as Helm writes it; None if none can be so long."""
    tag = release.replace("+", "_")
    return tag if _TAG.fullmatch(tag) else None


def refused_name(*parts: str) -> str:
    """Why no OCI repository can be called so; "" if one can."""
    name = "/".join(parts)
    for part in parts:
        if part in RESERVED:
            return f"{part!r} has a meaning in the paths of an OCI registry"
    if "." in parts[0] or parts[0] == "localhost":
        return f"{parts[0]!r} looks like the host of a registry"
    if not _REPOSITORY.fullmatch(name) or len(name) > _MAX_NAME:
        return f"no OCI repository can be called {name!r:.300}"
    return ""


def rank(path: str) -> int:
    """When a file may be written: blobs, manifests, tags, referrers, lists of tags, the catalog.

    Paths are those of a site, or the keys that a bucket has in their place.
    """
    if path.endswith("/tags/list"):
        return PACKAGE_RANK
    match = _FILE.fullmatch(path)
    if match is None:
        return LISTS_RANK
    if match["folder"] == "blobs":
        return 0
    if match["folder"] == "referrers":
        return 5
    return 2 if match["name"].startswith("sha256") and "-" not in match["name"] else 4


def package_in(path: str) -> str | None:
    """The package whose file this is; None for the list of all repositories and the rest."""
    parts = path.split("/")
    return f"{parts[1]}/{parts[2]}" if len(parts) > 4 else None


def url_of(path: str) -> str:
    """The address at which a file answers, which is also its key in a bucket."""
    if path == f"{TOP}/index.json":
        return f"{TOP}/"
    match = _FILE.fullmatch(path)
    if match is None:
        return path
    folder = "manifests" if match["folder"] in FOLDERS.values() else match["folder"]
    return f"{TOP}/{match['repo']}/{folder}/{match['name'].replace('sha256/', 'sha256:')}"


def folder_of(address: str) -> str:
    """What an address asks for: ``manifests``, ``blobs``, ``referrers``, ``tags``, or else ""."""
    if address.endswith("/tags/list"):
        return "tags"
    match = _FILE.search(address)
    return match["folder"] if match else ""


def digest_of(path: str) -> str:
    """The digest of a manifest or blob as its path says it; "" for all else."""
    match = _FILE.fullmatch(path)
    named = match is not None and match["folder"] != "referrers"
    name = match["name"].replace("/", ":") if match and named else ""
    return name if name.startswith("sha256:") else ""


def files_of(address: str) -> list[str]:
    """The files that may answer an address, the first that is there."""
    if address.rstrip("/") == TOP:
        return [f"{TOP}/index.json"]
    match = _FILE.fullmatch(address)
    if match is None:
        return [address]
    repo, folder, name = match["repo"], match["folder"], match["name"].replace("sha256:", "sha256/")
    if folder == "manifests":
        return [f"{TOP}/{repo}/{each}/{name}" for each in FOLDERS.values()]
    files = [f"{TOP}/{repo}/{folder}/{name}"]
    if folder == "blobs":
        files.append(blob_path(name.removeprefix("sha256/")))
    return files
