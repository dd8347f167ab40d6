"""The files of a site in a folder, seen one by one: what their names say they must be."""

from __future__ import annotations

import gzip
import hashlib
import os
import posixpath
import re
import zlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import DamageError
from cnrmirror.model.finding import NOT_REFERRED_TO, Finding
from cnrmirror.model.resource import Alias, Resource
from cnrmirror.model.signed import MAX_BYTES, METADATA, parse_role
from cnrmirror.objects.base import STATE_FOLDER
from cnrmirror.views.forms import without_markup
from cnrmirror.views.hosts import HOST_FILES
from cnrmirror.views.site import NO_JEKYLL

_HEX = r"(?P<digest>[0-9a-f]{64})"
NAMED = re.compile(
    rf"catalog/(?:(?:blobs|nodes)/sha256/[0-9a-f]{{2}}/{_HEX}"
    r"|targets/(?P<root>[0-9a-f]{64})\.catalog\.json"
    r"|metadata/(?:timestamp|(?P<version>[1-9][0-9]*)\.(?P<role>root|targets|catalog|snapshot))"
    r"\.json)"
)
_TYPES = {"catalog": "targets"}
# Not views: the catalog is looked at by itself, the state is the publishers'.
_OTHERS = ("catalog/", f"{STATE_FOLDER}/")
_OF_HOSTS = {NO_JEKYLL, *HOST_FILES}


def files_below(folder: Path, part: str) -> Iterator[str]:
    """Every file and link below ``folder/part``, as paths relative to ``folder``, sorted."""
    base = folder / part
    for parent, folders, names in os.walk(base):
        folders.sort()
        here = Path(parent).relative_to(folder)
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted((*names, *links)):
            yield (here / name).as_posix()


def wrong_name(file: Path, path: str) -> str:
    """Why a file of the catalog is not what its name says; "" if it is."""
    match = NAMED.fullmatch(path)
    if match is None:
        return "no file of a catalog has such a name"
    if file.is_symlink() or not file.is_file():
        return "not a file"
    digest = match["digest"] or match["root"]
    try:
        if digest:
            hasher = hashlib.sha256()
            with file.open("rb") as stream:
                while piece := stream.read(CHUNK):
                    hasher.update(piece)
            return "" if hasher.hexdigest() == digest else "its name is the digest of other bytes"
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        role = parse_role(data, path)
    except OSError as error:
        return str(error.strerror)
    except DamageError:
        return "not signed metadata"
    kind = match["role"] or "timestamp"
    if role.type != _TYPES.get(kind, kind) or role.version != int(match["version"] or role.version):
        return "its name is that of another role or version"
    return ""


class Known:
    """The views that a site must have: ``paths`` of files, ``aliases`` and what they stand for."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.aliases: dict[str, str] = {"api": "cnr/api", "version": "cnr/version"}

    def add(self, resource: Resource) -> None:
        """A view that must be there."""
        if isinstance(resource.body, Alias):
            self.aliases[resource.path] = resource.body.seen_from(resource.path)
        else:
            self.paths.add(resource.path)

    def first_form(self, path: str) -> str | None:
        """The view of which a file that is none itself has the bytes; None if there is none."""
        parts = path.split("/")
        for length in range(len(parts), 0, -1):
            target = self.aliases.get("/".join(parts[:length]))
            if target is not None:
                whole = "/".join((target, *parts[length:]))
                return whole if whole in self.paths else self.first_form(whole) or target
        for ending, other in ((".gz", ""), ("/index.html", "/index.json")):
            if path.endswith(ending) and path.removesuffix(ending) + other in self.paths:
                return path.removesuffix(ending) + other
        return None


def wrong_names(
    folder: Path,
    named: Container[str],
    expected: Container[str] | None,
    vouched: Callable[[str], bool] | None = None,
) -> Iterator[Finding]:
    """Every file of a folder's catalog that is not what its name says, or does not belong there.

    What a killed command left, or an old revision needed, is what its name says: nobody is harmed
    by a file that is named by its digest, or signed by the mirror's keys.

    Args:
        named: paths that are findings already.
        expected: what must be there; None if that is not known: then only the names tell.
        vouched: whether a metadata file is signed by who may sign it.
    """
    for path in files_below(folder, "catalog"):
        if path in named:
            continue
        if reason := wrong_name(folder / path, path):
            yield Finding(path, "wrong" if NAMED.fullmatch(path) else "extra", reason)
        elif expected is not None and path not in expected:
            by_digest = not path.startswith(f"{METADATA}/")
            good = by_digest or (vouched is not None and vouched(path))
            yield Finding(path, "unused" if good else "extra", NOT_REFERRED_TO)


def wrong_forms(folder: Path, known: Known) -> Iterator[Finding]:
    """Files of a folder's site that no view has, and second forms that are not as the first."""
    for path in files_below(folder, ""):
        if path.startswith(_OTHERS) or path in known.paths or path in _OF_HOSTS:
            continue
        first = known.first_form(path)
        if first is None:
            yield Finding(path, "extra", "no view has this file")
        elif reason := second_form(folder, path, first):
            yield Finding(path, "wrong", reason)


def second_form(folder: Path, path: str, first: str) -> str:
    """Why a file is no second form of a view (compressed, copied, for index.html); "" if it is."""
    file = folder / path
    page = f"{first.removesuffix('.json')}.html"
    if not os.path.lexists(folder / first) and os.path.lexists(folder / page):
        first = page  # a host that only knows index.html has no other
        if path == page:
            return ""
    try:
        if file.is_symlink():
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.readlink(file)))
            if target != first or not path.endswith(".html"):
                return "" if target == first else f"it leads to {target!r:.200}"
        data = file.read_bytes()
        if path.endswith(".gz") and not first.endswith(".gz"):
            data = gzip.decompress(data)
        expected = (folder / first).read_bytes()
        if path.endswith(".html"):
            expected = without_markup(expected)
        elif first == page:
            data = without_markup(data)
        return "" if data == expected else f"not what {first} is"
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be compared with {first}: {error}"
