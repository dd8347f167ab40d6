"""The command line: one small file per command, named after it; errors and exit codes end here."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from keyword import iskeyword
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from cnrmirror import __version__
from cnrmirror.cli.commands import COMMANDS
from cnrmirror.cli.context import Context, plain
from cnrmirror.model.errors import CnrMirrorError, StorageError

_INTERRUPTED = "cnrmirror: interrupted; the next command goes on from here"


class Commands(click.Group):
    """Loads the file of a command when it is called for: what serves costs a push nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # "import" cannot be the name of a module.
        module = importlib.import_module(f"cnrmirror.cli.{cmd_name}{'_' * iskeyword(cmd_name)}")
        found: click.Command = module.COMMAND
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands; what it says of them loads none."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short(text, limit)) for name, text in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, or the options before them, that begin so; no command is loaded."""
        named = [(name, text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        found = [CompletionItem(n, help=_short(text)) for n, text in named]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that is gone ends it with 141, which click would make 1."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _to_nowhere(sys.stdout.fileno())
            raise SystemExit(141) from None


def _short(text: str, limit: int = 45) -> str:
    """As much of a command's first sentence as fits; 45 is what shells get."""
    return click.Command(None, help=text).get_short_help_str(limit)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cnrmirror")
@click.option(
    "-C", "folder", metavar="DIR", default=".", show_default=True,
    type=click.Path(path_type=str), help="The mirror project: this folder or the nearest above.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
@click.option(
    "--allow-past", is_flag=True, envvar="CNRMIRROR_ALLOW_PAST",
    help="Sign for a time that is over, or before the last one (also: CNRMIRROR_ALLOW_PAST=1).",
)  # fmt: skip
@click.pass_context
def cli(context: click.Context, folder: str, as_json: bool, allow_past: bool) -> None:
    """Make and keep a CNR (app registry) mirror that is only files.

    \b
    cnrmirror init my-mirror
    cnrmirror -C my-mirror push --namespace charts ./elasticsearch
    cnrmirror -C my-mirror serve
    """
    context.obj = Context(folder, as_json, allow_past)


def main() -> None:
    """Run the command line and exit with the code of docs/exit-codes.md."""
    _open_streams()
    _speak_utf8()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    if as_json:  # before the command or after it: both are meant
        arguments = ["--json", *(a for a in arguments if a != "--json")]
    try:
        # click gives the code of an Exit back
        code = cli.main(arguments, standalone_mode=False)
        if isinstance(code, int):
            sys.exit(code)
    except _Asked as asked:
        _leave(asked.number + 128)
    except click.exceptions.Abort:
        click.echo(_INTERRUPTED, err=True)
        _leave(130)
    except click.ClickException as error:
        if as_json:
            _print_error("invalid-usage", error.format_message(), {})
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except CnrMirrorError as error:
        if as_json:
            _print_error(error.code, error.message, error.details)
        click.echo(f"cnrmirror: {plain(error.message)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo(_INTERRUPTED, err=True)
        _leave(130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"cnrmirror: {where}{error.strerror or error}", err=True)
        sys.exit(StorageError.exit_code)
    except MemoryError:
        click.echo("cnrmirror: there is not enough memory for this", err=True)
        sys.exit(1)


def _to_nowhere(descriptor: int) -> None:
    """Let what is written to a descriptor vanish."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _open_streams() -> None:
    """Give a process that was started without streams (``>&-``) some that lead nowhere.

    Else the first file that it opens would take the place of one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _to_nowhere(number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def _speak_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale says nothing of UTF-8.

    Else a name in an address or a path could be neither written down nor found again.
    """
    if sys.getfilesystemencoding() != "utf-8":
        command = [sys.executable, "-X", "utf8", "-m", "cnrmirror", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})


class _Asked(SystemExit):
    """Asked to end: as if interrupted, so that nothing half made is left behind."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def _end(number: int, frame: object) -> None:
    raise _Asked(number)


def _leave(code: int) -> NoReturn:
    """Exit without waiting for threads: one may be in the middle of a slow download.

    All that has to be put right was put right on the way here.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _print_error(code: str, message: str, details: dict[str, object]) -> None:
    text = {"code": code, "message": message, "details": details}
    click.echo(json.dumps(text, default=str))
