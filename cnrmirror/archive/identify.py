"""What a package archive or folder on this machine is, told by its files, its name, or a person."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from cnrmirror.archive.inspect import MAX_TELLING, REQUIREMENTS
from cnrmirror.archive.yamltext import fields_of, mapping_in
from cnrmirror.model.errors import InputError, InvalidDocument
from cnrmirror.model.names import PackageName, check_media_type, check_release

_ARCHIVE = re.compile(r"(?P<stem>.+)\.(?:tgz|tar\.gz)")
_STEM = re.compile(
    r"(?P<name>.+?)[-_](?P<release>v?[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)"
)
MARKER_FILES = ("Chart.yaml", "manifest.yaml", "manifest.jsonnet", "docker-compose.yml",
          "docker-compose.yaml")  # fmt: skip


class Override(msgspec.Struct, frozen=True):
    """What the person who pushes says about what is pushed; None where the archive tells."""

    package: str | None = None
    namespace: str | None = None
    release: str | None = None
    media_type: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """Which release of which package in which media type something is."""

    package: str
    release: str
    media_type: str


def find(path: Path) -> Iterator[Path]:
    """The packages at ``path``: itself, if it is an archive or a package folder, or all in it.

    Raises:
        InputError: there is nothing, or nothing that looks like a package.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_file() or is_package_folder(path):
        yield path
        return
    if not path.is_dir():
        raise InputError(f"{path}: neither a file nor a folder")
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    found = [path / e.name for e in entries if _ARCHIVE.fullmatch(e.name) and e.is_file()]
    found += [path / e.name for e in entries if e.is_dir() and is_package_folder(path / e.name)]
    if not found:
        raise InputError(
            f"{path}: no package here: neither a {', '.join(MARKER_FILES)}, nor archives (.tgz, "
            ".tar.gz)"
        )
    yield from found


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
    media_type, inside = _inside(telling, path)
    media_type = wish.media_type or media_type
    if media_type is None:
        raise InputError(f"{path}: what format is it? say --media-type helm (kpm, docker-compose…)")
    release = wish.release or inside.get("version") or (stem["release"] if stem else None)
    if release is None:
        raise InputError(f"{path}: it does not tell its release; say --release 1.0.0")
    name = wish.package or inside.get("name") or (stem["name"] if stem else None)
    if name is None:
        raise InputError(f"{path}: it does not tell its name; say --as NAMESPACE/NAME")
    if wish.package is None and wish.namespace:
        name = f"{wish.namespace}/{name.rpartition('/')[2]}"
    if "/" not in name:
        raise InputError(f"{path}: in which namespace is {name!r}? say --namespace NS")
    package = str(PackageName.parse(name))
    return Identity(package, check_release(_plain(release)), check_media_type(media_type))


def _plain(release: str) -> str:
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


def _inside(telling: dict[str, bytes], path: Path) -> tuple[str | None, dict[str, str]]:
    """The media type, and name and version as far as the package's own files tell them."""
    by_name = by_file_name(telling, path)
    if "Chart.yaml" in by_name:
        return "helm", _scalars(by_name["Chart.yaml"], f"{path}: Chart.yaml")
    if "manifest.yaml" in by_name or "manifest.jsonnet" in by_name:
        manifest = by_name.get("manifest.yaml", b"{}")
        return "kpm", _scalars(manifest, f"{path}: manifest.yaml", below="package")
    for name in ("docker-compose.yml", "docker-compose.yaml"):
        if name in by_name:
            found = _scalars(by_name[name], f"{path}: {name}")
            # "version" there is the version of the compose file's format.
            return "docker-compose", {k: v for k, v in found.items() if k == "name"}
    if any(name.endswith(".dab") for name in by_name):
        return "dab", {}
    return None, {}


def _scalars(data: bytes, where: str, below: str | None = None) -> dict[str, str]:
    """``name`` and ``version`` of a YAML mapping, as they are written there.

    With ``below``, the mapping under that key is meant, if there is one.
    """
    if len(data) > MAX_TELLING:
        raise InvalidDocument(f"{where}: larger than {MAX_TELLING} bytes")
    fields = fields_of(mapping_in(data, where), where)
    inner = fields.get(below) if below else None
    if isinstance(inner, yaml.MappingNode):
        fields = fields_of(inner, where)
    found = {k: fields[k] for k in ("name", "version") if k in fields}
    return {k: v.value for k, v in found.items() if isinstance(v, yaml.ScalarNode) and v.value}
