"""The program's templates, and others in the place of those of the pages."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.later import later
from cnrmirror.views.pagetext import as_bytes, day, link

if TYPE_CHECKING:
    import jinja2
    import rjsmin
    from jinja2 import sandbox

    from cnrmirror.views import compiled
else:
    jinja2 = later("jinja2")
    rjsmin = later("rjsmin")
    sandbox = later("jinja2.sandbox")
    compiled = later("cnrmirror.views.compiled")


TEMPLATES = Path(__file__).parent.parent / "templates"
_MAX_FILES, _MAX_BYTES = 50, 256 << 10
_ENDINGS = (".html", ".xml", ".css", ".js")
_SCRIPTS = ("trust.js", "archive.js", "diff.js", "search.js", "pages.js")


def own_templates(project: Path, folder: str) -> dict[str, str]:
    """The files of a folder of own templates, by name; none if ``folder`` is "".

    Args:
        project: from where a relative folder is seen.

    Raises:
        InvalidDocument: there is no such folder, or it has something else, or too much.
    """
    if not folder:
        return {}
    where = project / folder
    found: dict[str, str] = {}
    try:
        for path in sorted(where.iterdir()):
            if not path.name.endswith(_ENDINGS) or not path.is_file():
                continue
            if len(found) == _MAX_FILES or path.stat().st_size > _MAX_BYTES:
                most = f"{_MAX_FILES} files of {_MAX_BYTES >> 10} KiB"
                raise InvalidDocument(f"{where}: more than {most}: these are no templates")
            found[path.name] = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidDocument(f"views.templates: {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidDocument(f"views.templates: {where}: not UTF-8: {error}") from error
    return found


def digest_of_templates(templates: Mapping[str, str]) -> str:
    """One sha256 over own templates, in hex; "" if there are none."""
    if not templates:
        return ""
    hasher = hashlib.sha256()
    for name, text in sorted(templates.items()):
        for part in (name.encode(), text.encode()):
            hasher.update(b"%d:%b" % (len(part), part))
    return hasher.hexdigest()


def style(own: Mapping[str, str]) -> bytes:
    """The style sheet of the pages."""
    return _asset("pages.css", own).encode()


def script(own: Mapping[str, str]) -> bytes:
    """The scripts of the pages as one file, without comments and blanks.

    One file packs smaller than its parts, and is one request.
    """
    return _smaller("".join(_asset(name, own) for name in _SCRIPTS))


@functools.lru_cache(maxsize=4)
def _smaller(text: str) -> bytes:
    found: str = rjsmin.jsmin(text)
    return found.encode() + b"\n"


def _asset(name: str, own: Mapping[str, str]) -> str:
    return own[name] if name in own else _read(name)


@functools.cache
def _read(name: str) -> str:
    return (TEMPLATES / "assets" / name).read_text(encoding="utf-8")


def rendered(name: str, own: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """A page, as ``environment`` makes it.

    Raises:
        InvalidDocument: an own template is wrong.
    """
    try:
        found = environment(tuple(sorted(own.items()))).get_template(f"pages/{name}")
        return found.render(values)
    except Exception as error:
        if not own:
            raise
        # A template is a program: whatever goes wrong in it is its fault.
        line = getattr(error, "lineno", 0)
        where = f"{getattr(error, 'name', None) or name}{f':{line}' if line else ''}"
        raise InvalidDocument(f"views.templates: {where}: {error}; see docs/pages.md") from error


@functools.lru_cache(maxsize=4)
def environment(own: tuple[tuple[str, str], ...] = ()) -> jinja2.Environment:
    """Templates that escape HTML, and fail on a name that is not there.

    Args:
        own: names and texts of templates of the pages that come before the program's.
    """
    originals = jinja2.FileSystemLoader(TEMPLATES)
    # What somebody else wrote reaches nothing but its values.
    kind = sandbox.SandboxedEnvironment if own else jinja2.Environment
    found = kind(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.DictLoader({f"pages/{name}": text for name, text in own}),
                jinja2.PrefixLoader({"original": originals}),
                originals,
            ]
        ),
        autoescape=jinja2.select_autoescape(["html", "xml"]),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # Other options make other programs of one text: own templates are not kept.
        bytecode_cache=None if own else compiled.compiled(),
    )
    found.filters.update(bytes=as_bytes, day=day, link=link)
    return found
