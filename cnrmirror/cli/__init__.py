"""The command line: one small file per group of commands; errors and exit codes end here."""

from __future__ import annotations

import json
import os
import sys

import click

from cnrmirror import __version__
from cnrmirror.cli import change, history, look, maintain, push, serve
from cnrmirror.cli.common import Context
from cnrmirror.errors import CnrMirrorError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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


for group in (push, change, look, history, maintain, serve):
    for command in group.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line and exit with the code of docs/exit-codes.md."""
    try:
        cli.main(standalone_mode=False)
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
