"""help: a command, or a topic of the documents."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnrmirror.cli.commands import COMMANDS
from cnrmirror.cli.context import Context, console, pass_context
from cnrmirror.model.errors import UsageError
from cnrmirror.model.later import later
from cnrmirror.model.near import did_you_mean

if TYPE_CHECKING:
    from rich import markdown as rich_markdown
else:
    rich_markdown = later("rich.markdown")

_MOST_COLUMNS = 100


def topics() -> dict[str, Path]:
    """The documents by name: those of the installed package, or of the checkout that it runs in."""
    package = Path(__file__).parents[1]
    folders = package / "docs", package.parent / "docs"
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    found = {path.stem: path for path in sorted(folder.glob("*.md")) if path.stem != "index"}
    if "airgap" in found:
        found["air-gap"] = found["airgap"]
    return found


def _words(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in [*topics(), *COMMANDS] if name.startswith(incomplete)]


@click.command("help")
@click.argument("word", metavar="[TOPIC|COMMAND]", required=False, shell_complete=_words)
@pass_context
def help_on(context: Context, word: str | None) -> None:
    """Explain a TOPIC: trust, exit-codes, references, air-gap.

    Without an argument, the topics are listed. For a COMMAND, its own help is shown.

    \b
    cnrmirror help trust
    cnrmirror help push
    """
    known = topics()
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    if word is None:
        rows = [(name, _title(path)) for name, path in known.items()]
        context.table([{"topic": n, "title": t} for n, t in rows], ("TOPIC", "WHAT"), rows)
    elif word in known:
        _show(context, known[word].read_text(encoding="utf-8"))
    elif command := root.command.get_command(root, word):
        with click.Context(command, info_name=word, parent=root) as inner:
            click.echo(command.get_help(inner))
    else:
        hint = did_you_mean(word, [*known, *COMMANDS]) or "; 'cnrmirror help' lists the topics"
        raise UsageError(f"there is no topic {word!r}{hint}")


def _title(path: Path) -> str:
    """The first heading of a document."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def _show(context: Context, text: str) -> None:
    """A document: as it is written, or set for a terminal."""
    if not context.terminal:
        context.result({"text": text}, text.splitlines())
        return
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    console(width).print(rich_markdown.Markdown(text))


COMMAND = help_on
