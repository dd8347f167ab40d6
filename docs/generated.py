"""Pages of the site that are made from other things: the commands, the change log, CONTRIBUTING."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from cnrmirror.cli import cli

HERE = Path(__file__).parent
# Where a code host shows a file of the repository, the site has a page of its own.
PAGES_OF_LINKS = {
    "../README.md#commands": "commands.markdown",
    "../README.md": "index.md",
    "../CHANGELOG.md": "changes.markdown",
    "../CONTRIBUTING.md": "contributing.markdown",
}
_INTRODUCTION = """# Commands

Made from the program's own help: `cnrmirror COMMAND --help` says the same.

{usage}{options}"""


def write_pages(folder: Path) -> None:
    """Write the pages beside the documents, as .markdown, which git ignores."""
    root = folder.parent
    pages = {
        "commands.markdown": "".join(commands_page()),
        "changes.markdown": moved((root / "CHANGELOG.md").read_text()),
        "contributing.markdown": moved((root / "CONTRIBUTING.md").read_text()),
    }
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def moved(text: str) -> str:
    """The text of a file of the repository's root, its links seen from docs/.

    A document that is not below docs/ has no page: its path stands there instead of a link.
    """

    def link(match: re.Match[str]) -> str:
        words, path = match.groups()
        if "://" in path or path.startswith("#"):
            return match[0]
        if path.startswith("docs/"):
            inside = path.removeprefix("docs/")
            return f"[{words}]({inside + 'README.md' if inside.endswith('/') else inside})"
        known = f"../{path}" in PAGES_OF_LINKS
        return f"[{words}](../{path})" if known or not path.endswith(".md") else f"`{path}`"

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, text)


def existing(text: str, folder: Path) -> str:
    """The first page without those entries of its groups that are no documents (yet)."""

    def group(match: re.Match[str]) -> str:
        kept = [
            line for line in match[0].splitlines(keepends=True)
            if not re.fullmatch(r"[a-z][\w/-]*\n", line) or any(folder.glob(f"{line.strip()}.m*"))
        ]  # fmt: skip
        return "".join(kept)

    return re.sub(r"^```\{toctree\}\n.*?^```", group, text, flags=re.S | re.M)


_LINK = re.compile(r"\[[^\]]*\]\((recipes[^)#]*)\)")


def site_links(text: str) -> str:
    """The text with links to files of the repository's root that lead to their pages instead.

    A folder has no page: its path stands in the place of the link.
    """
    for path, page in PAGES_OF_LINKS.items():
        text = text.replace(f"]({path})", f"]({page})")
    return _LINK.sub(lambda m: f"`docs/{m[1]}`" if (HERE / m[1]).is_dir() else m[0], text)


def commands_page() -> Iterator[str]:
    """The page of all commands, in pieces."""
    top = click.Context(cli, info_name="cnrmirror")
    yield _INTRODUCTION.format(usage=_usage(top), options=_options(top))
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        assert command is not None
        yield from _section(click.Context(command, parent=top, info_name=name), 2)


def _section(context: click.Context, level: int) -> Iterator[str]:
    command = context.command
    title = context.command_path.removeprefix("cnrmirror ")
    yield f"\n{'#' * level} {title}\n\n{_help(command.help or '')}{_usage(context)}"
    yield _options(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _section(click.Context(child, parent=context, info_name=name), level + 1)


def _usage(context: click.Context) -> str:
    words = " ".join(context.command.collect_usage_pieces(context))
    return f"\n```text\n{context.command_path} {words}\n```\n"


def _help(text: str) -> str:
    """Help as Markdown: what click leaves as it is, behind a backspace, are commands."""
    paragraphs = inspect.cleandoc(text.replace("\f", "")).split("\n\n")
    return "\n\n".join(
        f"```sh\n{part.lstrip(chr(8)).strip(chr(10))}\n```" if part.startswith("\b")
        else _plain(part)
        for part in paragraphs
    ) + "\n"  # fmt: skip


def _options(context: click.Context) -> str:
    records = [
        record
        for parameter in context.command.get_params(context)
        if isinstance(parameter, click.Option) and "--help" not in parameter.opts
        for record in [parameter.get_help_record(context)]
        if record is not None
    ]
    if not records:
        return ""
    rows = "".join(f"| `{option}` | {_plain(help)} |\n" for option, help in records)
    return f"\n| option | |\n|---|---|\n{rows}"


def _plain(text: str) -> str:
    """Words that Markdown is not to read as its own."""
    return re.sub(r"([\\`*_<\[\]|])", r"\\\1", " ".join(text.split()))
