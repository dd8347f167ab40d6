"""Manual pages, made of what the commands say of themselves: docs/man/*.1 (man(7))."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from cnrmirror import __version__
from cnrmirror.cli import cli
from cnrmirror.cli.commands import COMMANDS, SECTIONS
from cnrmirror.cli.exits import NONE, OTHERS, exits


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    found = {"cnrmirror.1": _page(cli, "cnrmirror", [])}
    root = click.Context(cli, info_name="cnrmirror")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        found[f"cnrmirror-{name}.1"] = _page(command, name, ["cnrmirror"])
        if isinstance(command, click.Group):
            for below, each in sorted(command.commands.items()):
                found[f"cnrmirror-{name}-{below}.1"] = _page(each, below, ["cnrmirror", name])
    return found


def _page(command: click.Command, name: str, above: list[str]) -> str:
    words = [*above, name]
    context: click.Context | None = None
    for word in above:
        context = click.Context(cli, info_name=word, parent=context, **cli.context_settings)
    context = click.Context(command, info_name=name, parent=context, **cli.context_settings)
    first, *rest = _paragraphs(command)
    lines = [
        f'.TH "{"-".join(words).upper()}" "1" "" "cnrmirror {__version__}" "cnrmirror"',
        ".SH NAME", f"{_text('-'.join(words))} \\- {_text(first.rstrip('.'))}",
        ".SH SYNOPSIS", f".B {_text(' '.join(words))}",
        _text(" ".join(command.collect_usage_pieces(context))),
    ]  # fmt: skip
    if rest:
        lines += [".SH DESCRIPTION", *_described(rest)]
    lines += _options(command, context)
    lines += _exits(command, " ".join(words[1:]))
    if command is cli:
        for heading, named in SECTIONS.items():
            lines.append(f'.SH "{heading.upper()}"')
            lines += _listed({f"cnrmirror-{n}(1)": text for n, text in named.items()})
    elif isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        lines += _listed({
            f"{'-'.join(words)}-{n}(1)": _paragraphs(each)[0]
            for n, each in sorted(command.commands.items())
        })  # fmt: skip
    lines += [".SH SEE ALSO", _text("cnrmirror(1), 'cnrmirror help' for the documents")]
    return "\n".join(lines) + "\n"


def _paragraphs(command: click.Command) -> list[str]:
    """The help text; a paragraph with lines of its own begins with a mark."""
    return inspect.cleandoc(command.help or "").split("\n\n")


def _described(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", ".RS 4", *map(_text, paragraph.split("\n")[1:]), ".RE", ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [
        record
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if records:
        yield ".SH OPTIONS"
    yield from _listed(dict(records))


def _exits(command: click.Command, name: str) -> Iterator[str]:
    """The codes with which a command ends; a group ends as the commands below it."""
    if isinstance(command, click.Group):
        return
    found = exits(name)
    yield ".SH EXIT STATUS"
    yield from _listed({str(code): text for code, text in found.items()})
    if found:
        yield ".PP"
    yield _text(OTHERS if found else NONE)


def _listed(named: dict[str, str]) -> Iterator[str]:
    for name, text in named.items():
        yield from (".TP", f".B {_text(name)}", _text(" ".join(text.split())))


def _text(text: str) -> str:
    """A line of text in which nothing is taken for a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)
