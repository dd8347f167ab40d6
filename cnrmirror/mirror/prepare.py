"""A folder for a new mirror."""

from __future__ import annotations

from pathlib import Path

from cnrmirror.mirror import config, schema
from cnrmirror.mirror.layout import Layout
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.objects.files import storage_errors


def prepare(folder: Path, identity: str, elsewhere: bool = False) -> None:
    """A folder for a new mirror, without its first revision.

    Args:
        folder: where.
        identity: the registry's.
        elsewhere: see ``Layout``.

    Raises:
        InvalidDocument: the folder holds a mirror already.
    """
    path = folder / config.FILE_NAME
    with storage_errors(str(folder)):
        refuse_mirror(folder, elsewhere)
        Layout(folder, elsewhere).making.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(config.first_text(identity), encoding="utf-8")
            write_schema(folder)


def refuse_mirror(folder: Path, elsewhere: bool = False) -> None:
    """Make sure that a folder holds no mirror; see ``prepare``. Raises InvalidDocument."""
    layout = Layout(folder, elsewhere)
    catalog, metadata = layout.catalog, layout.metadata
    # What a killed init left may be made again; anything more is somebody's mirror.
    signs = [metadata / "timestamp.json", catalog / "nodes", catalog / "blobs"]
    if any(sign.exists() for sign in signs) or any(metadata.glob("2.*")):
        raise InvalidDocument(f"{folder / config.FILE_NAME}: there is a mirror here already")


def write_schema(folder: Path) -> None:
    """Keep the schema that mirror.yaml names for editors; nothing to do if it is there."""
    path, text = folder / config.SCHEMA_FILE, schema.schema_as_text() + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
