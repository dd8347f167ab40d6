"""serve."""

from __future__ import annotations

import ipaddress
import os
import resource
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cnrmirror.bundle.read import BundleReader
from cnrmirror.cli.context import Context, now, pass_context
from cnrmirror.cli.keyring import signing_project
from cnrmirror.model.errors import InputError, StorageError, UsageError
from cnrmirror.model.later import later
from cnrmirror.server.access_log import AccessLog
from cnrmirror.server.app import Application
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.server.connection import Limits
from cnrmirror.server.listen import Server
from cnrmirror.server.tls import server_context
from cnrmirror.server.tokens import Tokens, TokensFile, one_token
from cnrmirror.server.writing import Writing
from cnrmirror.server.wsgi import TOKEN_VARIABLE

if TYPE_CHECKING:
    from cnrmirror.publish import shared
    from cnrmirror.server import metrics as watching
else:
    shared = later("cnrmirror.publish.shared")
    watching = later("cnrmirror.server.metrics")


_OPEN_FILES = 4096
_PATH = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--accept-push", is_flag=True, help="Take the registry's POST and DELETE calls.")
@click.option(
    "--token-file",
    type=_PATH,
    help=f"A file with one token that allows every change; or set {TOKEN_VARIABLE}.",
)
@click.option("--tokens", "tokens_file", type=_PATH, help="A YAML file: tokens and their rights.")
@click.option("--metrics", is_flag=True, help="Answer /metrics, for Prometheus.")
@click.option("--tls-cert", type=_PATH, help="Speak HTTPS with this certificate (chain), in PEM.")
@click.option("--tls-key", type=_PATH, help="The certificate's key, in PEM.")
@click.option(
    "--access-log",
    metavar="FILE",
    help="A line for each answer, in the Combined Log Format; -: to standard error, as in a "
    "terminal.",
)
@click.argument("bundle", required=False, metavar="[BUNDLE]", type=click.Path(path_type=Path))
@pass_context
def serve(
    context: Context,
    host: str,
    port: int,
    accept_push: bool,
    token_file: Path | None,
    tokens_file: Path | None,
    metrics: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    access_log: str | None,
    bundle: Path | None,
) -> None:
    """Serve the registry's API over HTTP.

    The mirror is read-only without --accept-push.

    With BUNDLE, a complete bundle is served without an import. /healthz says whether the mirror
    can answer.

    \b
    cnrmirror serve --port 8080
    curl http://127.0.0.1:8080/cnr/api/v1/packages
    """
    if tokens_file and not accept_push:
        raise UsageError("--tokens needs --accept-push")
    tokens = _tokens(token_file, tokens_file) if accept_push else None
    tls, log = _tls(tls_cert, tls_key), _log(access_log)
    application = _application(context, bundle, tokens, metrics)
    try:
        server = Server(application, host, port, limits=_limits(), tls=tls, log=log)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    _warn(server.addresses, tls is not None, accept_push)
    for address, number in server.addresses:
        shown = f"[{address}]" if ":" in address else address
        click.echo(f"serving on http{'s' if tls else ''}://{shown}:{number}", err=True)
    _run(server)


def _tokens(token_file: Path | None, tokens_file: Path | None) -> Tokens:
    """What a change must bring one of. Raises InputError, UsageError."""
    if tokens_file is None:
        return one_token(_token(token_file))
    if token_file is not None:
        raise UsageError(
            "--tokens and --token-file: give that token an entry in the file of tokens"
        )
    return TokensFile(tokens_file, lambda text: click.echo(f"cnrmirror: {text}", err=True))


def _token(file: Path | None) -> str:
    """What a push must bring. Raises InputError, UsageError."""
    try:
        token = file.read_text(encoding="ascii") if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not a token: {error}") from error
    if not token.strip():
        raise UsageError(
            f"--accept-push needs tokens: --tokens FILE, --token-file FILE, or {TOKEN_VARIABLE} "
            "in the environment"
        )
    return token.strip()


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("--tls-cert and --tls-key need each other: use both")
    return server_context(certificate, key)


def _log(wish: str | None) -> AccessLog | None:
    """Where answers are told of: asked for, or because somebody looks."""
    if wish is None and not sys.stderr.isatty():
        return None
    try:
        return AccessLog(None if wish in (None, "-") else Path(wish))
    except OSError as error:
        raise StorageError(f"{wish}: {error.strerror}") from error


def _application(
    context: Context, bundle: Path | None, tokens: Tokens | None, metrics: bool
) -> Application:
    """What answers; with tokens it takes changes."""
    if bundle is not None:
        if tokens is not None:
            raise UsageError("a bundle is read-only: leave --accept-push out")
        mirror = BundleMirror(BundleReader([bundle]))
        return Application(mirror, None, watching.of_bundle(mirror) if metrics else None)
    project = context.project() if tokens is None else signing_project(context)
    if project.partial:
        shared.Shared(project).follow(lambda text: click.echo(f"cnrmirror: {text}", err=True))
    watched = watching.of_project(project, now) if metrics else None
    if tokens is None:
        return Application(project, None, watched)
    with project.signing(now()):
        pass  # what a killed command left is finished before somebody waits for an answer
    return Application(project, Writing(project, now, tokens), watched)


def _limits() -> Limits:
    """As many connections as this process may open files for, but not without end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    limits = Limits()
    # A connection has its socket and the file that it sends, and a push what it takes in.
    room = max(8, (soft - 64) // 3) if soft != resource.RLIM_INFINITY else limits.connections
    return msgspec.structs.replace(limits, connections=min(limits.connections, room))


def _warn(addresses: list[tuple[str, int]], tls: bool, accept_push: bool) -> None:
    """Say what it means to be seen by others."""
    public = [a for a, _ in addresses if not ipaddress.ip_address(a.partition("%")[0]).is_loopback]
    if not public:
        return
    if accept_push and not tls:
        click.echo(
            "warning: pushes send their tokens unencrypted; use TLS (--tls-cert, --tls-key), or "
            "listen on 127.0.0.1 behind nginx or Caddy that do",
            err=True,
        )
    click.echo(
        f"warning: {', '.join(public)} can be reached from other machines; for the public, put "
        "nginx or Caddy in front (the files that 'cnrmirror build' writes to hosts/ serve the "
        "site without this command)",
        err=True,
    )


def _run(server: Server) -> None:
    """Serve until asked to end; then end as any command that is interrupted."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        for one, handler in before.items():  # a second signal ends it at once
            signal.signal(one, handler)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup, or a shell's &, has it
            before[number] = signal.signal(number, ask)
    server.run()
    if asked:
        signal.raise_signal(asked[0])


COMMAND = serve
