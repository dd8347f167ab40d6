"""serve."""

from __future__ import annotations

import os
from pathlib import Path

import click
import waitress

from cnrmirror.cli.common import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.errors import UsageError
from cnrmirror.serve import Application

TOKEN_VARIABLE = "CNRMIRROR_TOKEN"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--accept-push", is_flag=True, help="Take the registry's POST and DELETE calls.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"The bearer token that a push must bring; or set {TOKEN_VARIABLE}.",
)
@pass_context
def serve(
    context: Context, host: str, port: int, accept_push: bool, token_file: Path | None
) -> None:
    """Answer the registry's API from the catalog, read-only unless --accept-push.

    \b
    cnrmirror serve --port 8080
    curl http://127.0.0.1:8080/cnr/api/v1/packages
    """
    token = token_file.read_text().strip() if token_file else os.environ.get(TOKEN_VARIABLE, "")
    if accept_push and not token:
        raise UsageError(
            f"--accept-push needs a token: --token-file FILE, or {TOKEN_VARIABLE} "
            "in the environment"
        )
    project = signing_project(context) if accept_push else context.project()
    with project.writing():
        pass
    application = Application(project, now, token if accept_push else None)
    server = waitress.create_server(
        application,
        host=host,
        port=port,
        threads=8,
        ident="cnrmirror",
        max_request_body_size=application.max_body,
    )
    click.echo(f"serving on http://{host}:{server.effective_port}", err=True)
    server.run()


COMMANDS = [serve]
