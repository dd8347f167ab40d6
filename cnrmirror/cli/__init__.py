"""The command line: one small file per command, named after it; errors and exit codes end here."""

from __future__ import annotations

import contextlib
import gc as garbage
import importlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cnrmirror.cli.commands import COMMANDS, SECTIONS
from cnrmirror.cli.context import Context, fail
from cnrmirror.cli.group import Commands, shared_options, with_shared
from cnrmirror.model.errors import CnrMirrorError, StorageError
from cnrmirror.model.later import later

if TYPE_CHECKING:
    from cnrmirror.model import versions
else:
    versions = later("cnrmirror.model.versions")


_INTERRUPTED = "cnrmirror: interrupted; the next command goes on from here"


class Root(Commands):
    """The commands of ``commands.py``: what serves costs a push nothing."""

    def sections(self) -> Mapping[str, Mapping[str, str]]:
        """See ``Group``."""
        return SECTIONS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See ``click.Group``."""
        if cmd_name not in COMMANDS:
            return None
        # "import" cannot be the name of a module.
        module = importlib.import_module(f"cnrmirror.cli.{cmd_name}{'_' * iskeyword(cmd_name)}")
        return with_shared(module.COMMAND)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """See ``click.Command``: it prints the help, too."""
        with _piped():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _piped():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def _piped() -> Iterator[None]:
    """A reader that is gone ends the process with 141, which click would make 1."""
    try:
        yield
    except BrokenPipeError:
        _to_nowhere(sys.stdout.fileno())
        raise SystemExit(141) from None


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Context).result(versions.versions(), versions.lines())
        ctx.exit()


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[*shared_options(hidden=False)],
    epilog="Topics: 'cnrmirror help trust', 'exit-codes', 'references', 'air-gap'.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, callback=_version,
    help="Show this program's version, Python's and the libraries', and exit.",
)  # fmt: skip
@click.option(
    "-C", "folder", metavar="DIR", default=".", show_default=True,
    type=click.Path(path_type=str), help="The mirror's folder, or a folder in it.",
)  # fmt: skip
@click.option(
    "--allow-past", is_flag=True, envvar="CNRMIRROR_ALLOW_PAST",
    help="Sign even if the clock is behind the last signature, or what is signed is "
    "expired already (also: CNRMIRROR_ALLOW_PAST=1).",
)  # fmt: skip
@click.pass_context
def cli(context: click.Context, folder: str, allow_past: bool) -> None:
    """Make and keep a CNR (app registry) mirror that is only files.

    \b
    cnrmirror init my-mirror
    cnrmirror -C my-mirror push --namespace charts ./elasticsearch
    cnrmirror -C my-mirror serve
    """
    shared = context.ensure_object(Context)
    shared.folder, shared.allow_past = Path(folder), allow_past


def main() -> None:
    """Run the command line and exit with the code of docs/exit-codes.md."""
    _open_streams()
    _speak_utf8()
    # Large mirrors are many values and few cycles: to look for these takes up to a third of a run.
    garbage.set_threshold(50_000, 20, 50)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)
    as_json = "--json" in sys.argv[1:]
    try:
        # click gives the code of an Exit back
        code = cli.main(prog_name="cnrmirror", standalone_mode=False)
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
        fail(error, bool({"-v", "--verbose"} & set(sys.argv[1:])))
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
