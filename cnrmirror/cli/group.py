"""Commands with what all of ours have: shared options, whole sentences, suggestions."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cnrmirror.cli.context import Context, plain
from cnrmirror.cli.exits import NONE, OTHERS, exits
from cnrmirror.model.later import later
from cnrmirror.model.near import did_you_mean

if TYPE_CHECKING:
    from cnrmirror.objects import telling
else:
    telling = later("cnrmirror.objects.telling")

_EVERYWHERE = "With every command: -C, -q, -v, --json, --color; see 'cnrmirror --help'."
_COLORS = {"always": "FORCE_COLOR", "never": "NO_COLOR"}


def _set(attribute: str) -> Any:
    """A callback that notes an option's value, wherever in the line it was given."""

    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        context = ctx.ensure_object(Context)
        if value:
            setattr(context, attribute, value)

    return callback


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        telling.tell_requests(lambda line: click.echo(plain(line), err=True))


def _color(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Say it in the environment, where all that prints looks, and what hooks start."""
    for name in ("NO_COLOR", "FORCE_COLOR") if value in _COLORS else ():
        os.environ.pop(name, None)
    if value in _COLORS:
        os.environ[_COLORS[value]] = "1"


def shared_options(hidden: bool = True) -> list[click.Option]:
    """What may stand before or behind each command; new ones at each call, as click needs them."""
    found = [
        click.Option(["-q", "--quiet"], is_flag=True, callback=_set("quiet"),
                     help="Print only results, and what is wrong."),
        click.Option(["-v", "--verbose"], is_flag=True, callback=_verbose,
                     help="Print each request, too, and the cause of an error."),
        click.Option(["--json", "as_json"], is_flag=True, callback=_set("as_json"),
                     help="Results as JSON on standard output."),
        click.Option(["--color"], type=click.Choice(["auto", "always", "never"]), metavar="WHEN",
                     callback=_color,
                     help="auto (the default), always or never; NO_COLOR is honoured."),
    ]  # fmt: skip
    for option in found:
        option.hidden, option.expose_value, option.is_eager = hidden, False, True
    return found


def _folder(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Context).folder = Path(value)


def with_shared(command: click.Command, above: str = "") -> click.Command:
    """A command, and those below it, with the shared options; their helps name exit codes.

    Args:
        above: the command that it is below, if it is.
    """
    if not any(p.name == "quiet" for p in command.params):
        folder = click.Option(
            ["-C", "mirror_folder"], callback=_folder, expose_value=False, hidden=True
        )
        command.params += [*shared_options(), folder]
        name = f"{above} {command.name}".strip()
        if isinstance(command, click.Group):
            command.epilog = _EVERYWHERE
            for each in command.commands.values():
                with_shared(each, name)
        else:
            command.format_epilog = functools.partial(_end_help, name)  # type: ignore[method-assign]
    return command


def _end_help(name: str, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The end of a command's help: its exit codes, and what all commands have."""
    found = exits(name)
    if found:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in found.items()])
    formatter.write_paragraph()
    formatter.write_text(f"{OTHERS if found else NONE} {_EVERYWHERE}")


class Group(click.Group):
    """A group whose help cuts no sentence, and which knows what a mistyped word meant."""

    def sections(self) -> Mapping[str, Mapping[str, str]]:
        """What its help lists: the commands with what each does, under their headings."""
        named = {name: _first_sentence(c.help or "") for name, c in sorted(self.commands.items())}
        return {"Commands": named}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands."""
        sections = self.sections()
        width = max(len(name) for named in sections.values() for name in named)
        for heading, named in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in named.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See ``click.Group``; the error for an unknown word names a known one."""
        word = args[0]
        known = self.list_commands(ctx)
        if word not in known and not word.startswith("-"):
            where = ctx.command_path
            hint = did_you_mean(word, known) or f"; see '{where} --help'"
            raise click.UsageError(f"there is no command {word!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


class Commands(Group):
    """A group that loads the file of a command when it is called for."""

    def listed(self) -> Iterator[tuple[str, str]]:
        """Every command, and what it does; none is loaded."""
        for named in self.sections().values():
            yield from named.items()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See ``click.Group``."""
        return [name for name, _ in self.listed()]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, or the options before them, that begin so; no command is loaded."""
        found = [CompletionItem(n, help=t) for n, t in self.listed() if n.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def _first_sentence(text: str) -> str:
    """The first paragraph of a help text, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())
