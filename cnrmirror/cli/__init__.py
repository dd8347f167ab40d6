"""The command line: one small file per group of commands; errors and exit codes end here."""

from __future__ import annotations

import importlib
import json
import os
import sys

import click

from cnrmirror import __version__
from cnrmirror.cli.common import Context
from cnrmirror.errors import CnrMirrorError

_MODULES = {
    "init": "init",
    "push": "push",
    "channel": "change",
    "remove": "change",
    "rollback": "change",
    "list": "look",
    "show": "look",
    "log": "history",
    "diff": "history",
    "build": "maintain",
    "check": "maintain",
    "gc": "maintain",
    "sync": "sync",
    "report": "sync",
    "config": "sync",
    "serve": "serve",
    "pull": "pull",
    "search": "pull",
    "keys": "keys",
    "root": "keys",
    "refresh": "keys",
}


class Commands(click.Group):
    """Loads the file of a command when it is called for: what serves costs a push nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        module = importlib.import_module(f"cnrmirror.cli.{_MODULES[cmd_name]}")
        found: click.Command = next(c for c in module.COMMANDS if c.name == cmd_name)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cnrmirror")
@click.option(
    "-C", "folder", metavar="DIR", default=".", show_default=True,
    type=click.Path(path_type=str), help="The mirror project: this folder or the nearest above.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on standard output.")
@click.pass_context
def cli(context: click.Context, folder: str, as_json: bool) -> None:
    """Make and keep a CNR (app registry) mirror that is only files.

    \b
    cnrmirror init my-mirror
    cnrmirror -C my-mirror push --namespace charts ./elasticsearch
    cnrmirror -C my-mirror serve
    """
    context.obj = Context(folder, as_json)


def main() -> None:
    """Run the command line and exit with the code of docs/exit-codes.md."""
    try:
        code = cli.main(standalone_mode=False)  # click gives the code of an Exit back
        if isinstance(code, int):
            sys.exit(code)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except CnrMirrorError as error:
        if "--json" in sys.argv:
            text = {"code": error.code, "message": error.message, "details": error.details}
            click.echo(json.dumps(text, default=str))
        click.echo(f"cnrmirror: {error.message}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("cnrmirror: interrupted; the next command goes on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
