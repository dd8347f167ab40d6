"""serve."""

from __future__ import annotations

import os
from pathlib import Path

import click
import waitress

from cnrmirror.bundle.read import BundleReader
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.model.errors import InputError, UsageError
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.server.writing import Writing

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
@click.argument("bundle", required=False, metavar="[BUNDLE]", type=click.Path(path_type=Path))
@pass_context
def serve(
    context: Context,
    host: str,
    port: int,
    accept_push: bool,
    token_file: Path | None,
    bundle: Path | None,
) -> None:
    """Answer the registry's API from the catalog, read-only unless --accept-push.

    With BUNDLE, a whole bundle is served as it lies.

    \b
    cnrmirror serve --port 8080
    curl http://127.0.0.1:8080/cnr/api/v1/packages
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token_file:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"{token_file}: not a token: {error}") from error
    if accept_push and not token:
        raise UsageError(
            f"--accept-push needs a token: --token-file FILE, or {TOKEN_VARIABLE} "
            "in the environment"
        )
    if bundle is not None:
        if accept_push:
            raise UsageError("nothing can be pushed into a bundle")
        application = Application(BundleMirror(BundleReader([bundle])))
    elif accept_push:
        project = signing_project(context)
        with project.signing(now()):
            pass  # what a killed command left is finished before somebody waits for an answer
        application = Application(project, Writing(project, now, token))
    else:
        application = Application(context.project())
    try:
        server = waitress.create_server(
            application,
            host=host,
            port=port,
            threads=8,
            ident="cnrmirror",
            # A little more than the application takes, which says no in JSON.
            max_request_body_size=application.max_body + (16 << 20),
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    # A name may stand for several addresses; then there are several servers.
    listens = getattr(server, "effective_listen", None) or [(host, server.effective_port)]
    for address, number in listens:
        shown = f"[{address}]" if ":" in address else address
        click.echo(f"serving on http://{shown}:{number}", err=True)
    server.run()


COMMAND = serve
