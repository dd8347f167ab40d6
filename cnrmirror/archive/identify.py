"""What a package archive or folder on this machine is, told by its files, its name, or a person."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import yaml

from cnrmirror.archive.inspect import MAX_TELLING, REQUIREMENTS
from cnrmirror.archive.yamltext import fields_of, mapping_in
from cnrmirror.model.errors import InputError, InvalidDocument, InvalidName
from cnrmirror.model.names import PackageName, check_media_type, check_release

_ARCHIVE = re.compile(r"(?P<stem>.+)\.(?:tgz|tar\.gz)")
_STEM = re.compile(
    r"(?P<name>.+?)[-_](?P<release>v?[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)"
)
MARKER_FILES = ("Chart.yaml", "manifest.yaml", "manifest.jsonnet", "docker-compose.yml",
          "docker-compose.yaml", "compose.yaml", "compose.yml")  # fmt: skip
_COMPOSE = MARKER_FILES[3:]
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_DEEP = 32
ONCE = {
    "apiVersion", "name", "version", "appVersion", "description", "type", "kubeVersion",
    "deprecated", "maintainers", "dependencies",
}  # fmt: skip
"""The keys of a Chart.yaml that decide what a chart is, or that people are shown: of one with two
values, two programs would make two packages. Of any other one, the last value counts, as for Helm.
"""


class Override(msgspec.Struct, frozen=True):
    """What the person who pushes says about what is pushed; None where the archive tells."""

    package: str | None = None
    namespace: str | None = None
    release: str | None = None
    media_type: str | None = None

    @property
    def all_said(self) -> bool:
        """Whether nothing has to be told by what is pushed."""
        return bool(self.package and self.release and self.media_type)


class Identity(msgspec.Struct, frozen=True):
    """Which release of which package in which media type something is."""

    package: str
    release: str
    media_type: str


def find(path: Path, wish: Override = Override()) -> list[Path]:
    """The packages at ``path``, sorted: itself, if it is an archive or a package folder.

    Else all archives and package folders in it, however deep; but not those in a package folder, in
    a hidden folder, or behind a symlink to a folder. If ``wish`` says all of a package, a folder
    needs nothing that tells what it is, but must hold more than archives.

    Raises:
        InputError: there is nothing, or nothing that looks like a package.
    """
    if _ADDRESS.match(str(path)) and not path.exists():
        raise InputError(
            f"{path}: an address; push takes files: fetch it first (curl -LO), or make it a source "
            "in mirror.yaml and run 'cnrmirror sync'"
        )
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file() or is_package_folder(path):
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: neither a file nor a folder")
    if wish.all_said and not all(_is_archive(entry) for entry in _entries(path)):
        return [path]
    found = list(_below(path, _DEEP))
    if not found:
        raise InputError(
            f"{path}: no package here, nor in its folders: neither a {', '.join(MARKER_FILES)}, "
            "nor archives (.tgz, .tar.gz); to pack the folder as it is, use --as NAMESPACE/NAME, "
            "--release and --media-type"
        )
    return found


def _below(folder: Path, deep: int) -> Iterator[Path]:
    for entry in _entries(folder):
        path = folder / entry.name
        if _is_archive(entry) or (entry.is_dir() and is_package_folder(path)):
            yield path
        elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and deep:
            yield from _below(path, deep - 1)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error


def _is_archive(entry: os.DirEntry[str]) -> bool:
    return _ARCHIVE.fullmatch(entry.name) is not None and entry.is_file()


def is_package_folder(path: Path) -> bool:
    """Whether a folder is one unpacked package."""
    return path.is_dir() and (
        any((path / m).is_file() for m in MARKER_FILES) or any(path.glob("*.dab"))
    )


def telling_of_folder(folder: Path) -> dict[str, bytes]:
    """The files of a package folder that tell what it is, as ``ArchiveInfo.telling`` has them."""
    found = {path.name: b"" for path in sorted(folder.glob("*.dab"))}
    for name in MARKER_FILES:
        path = folder / name
        if path.is_file():
            try:
                with path.open("rb") as stream:
                    found[name] = stream.read(MAX_TELLING + 1)
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from error
    return found


def identify(telling: dict[str, bytes], path: Path, wish: Override) -> Identity:
    """Package, release and media type: as wished, else from inside, else from the file's name.

    Raises:
        InputError: something is missing; the message names the option that gives it.
        InvalidName: a name, release or type that cannot be.
    """
    match = _ARCHIVE.fullmatch(path.name)
    stem = _STEM.fullmatch(match["stem"] if match else path.name)
    media_type, inside = _inside(telling, path, wish)
    media_type = wish.media_type or media_type
    if media_type is None:
        raise InputError(
            f"{path}: its media type is not known: use --media-type helm (kpm, docker-compose…)"
        )
    release = wish.release or inside.get("version") or (stem["release"] if stem else None)
    if release is None:
        raise InputError(f"{path}: it does not say its release: use --release 1.0.0")
    name = wish.package or inside.get("name") or (stem["name"] if stem else None)
    if name is None:
        raise InputError(f"{path}: it does not say its name: use --as NAMESPACE/NAME")
    if wish.package is None and wish.namespace:
        name = f"{wish.namespace}/{name.rpartition('/')[2]}"
    if "/" not in name:
        raise InputError(f"{path}: the namespace of {name!r} is not known: use --namespace NS")
    package = str(PackageName.parse(name))
    return Identity(package, _release(release, path, wish), check_media_type(media_type))


def _release(release: str, path: Path, wish: Override) -> str:
    try:
        return check_release(plain_release(release))
    except InvalidName as error:
        way_out = "" if wish.release else "; use --release 1.0.0"
        raise InvalidName(f"{path}: {error.message}{way_out}", **error.details) from error


def plain_release(release: str) -> str:
    """A chart's version without the "v" that it may begin with."""
    return release[1:] if re.match(r"v\d", release) else release


def by_file_name(telling: dict[str, bytes], path: Path) -> dict[str, bytes]:
    """The files that tell what a package is, by their names: those at the root, or in one folder.

    Raises:
        InputError: there are several folders, and nothing at the root.
    """
    marks = {name: data for name, data in telling.items() if not name.endswith(REQUIREMENTS)}
    at_root = {name for name in marks if "/" not in name}
    below = {name.partition("/")[0] for name in marks}
    if not at_root and len(below) > 1:
        raise InputError(f"{path}: several packages in one: {', '.join(sorted(below))}")
    return {
        name.rpartition("/")[2]: data
        for name, data in telling.items()
        if not at_root or "/" not in name
    }


def _inside(
    telling: dict[str, bytes], path: Path, wish: Override
) -> tuple[str | None, dict[str, str]]:
    """The media type, and name and version as far as the package's own files tell them."""
    if wish.all_said:
        # Nothing is asked, and it may hold several; but a chart at the root must be one for all.
        telling = {"Chart.yaml": telling["Chart.yaml"]} if "Chart.yaml" in telling else telling
        if wish.media_type != "helm" or sum("Chart.yaml" in name for name in telling) != 1:
            return None, {}
    by_name = by_file_name(telling, path)
    if "Chart.yaml" in by_name:
        return "helm", _scalars(by_name["Chart.yaml"], f"{path}: Chart.yaml", once=ONCE)
    if "manifest.yaml" in by_name or "manifest.jsonnet" in by_name:
        manifest = by_name.get("manifest.yaml", b"{}")
        return "kpm", _scalars(manifest, f"{path}: manifest.yaml", below="package")
    for name in _COMPOSE:
        if name in by_name:
            found = _scalars(by_name[name], f"{path}: {name}")
            # "version" there is the version of the compose file's format.
            return "docker-compose", {k: v for k, v in found.items() if k == "name"}
    if any(name.endswith(".dab") for name in by_name):
        return "dab", {}
    return None, {}


def _scalars(
    data: bytes, where: str, below: str | None = None, once: Collection[str] | None = None
) -> dict[str, str]:
    """``name`` and ``version`` of a YAML mapping, as they are written there.

    With ``below``, the mapping under that key is meant, if there is one; ``once`` as ``fields_of``.
    """
    if len(data) > MAX_TELLING:
        raise InvalidDocument(f"{where}: larger than {MAX_TELLING} bytes")
    fields = fields_of(mapping_in(data, where), where, once)
    inner = fields.get(below) if below else None
    if isinstance(inner, yaml.MappingNode):
        fields = fields_of(inner, where, once)
    found = {k: fields[k] for k in ("name", "version") if k in fields}
    return {k: v.value for k, v in found.items() if isinstance(v, yaml.ScalarNode) and v.value}
