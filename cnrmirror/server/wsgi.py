"""The registry as a WSGI application, for servers that are not ours."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cnrmirror.mirror.config import find_project
from cnrmirror.mirror.home import online_keys
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rotate import repository
from cnrmirror.model.errors import UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.model.later import later
from cnrmirror.server.app import Application
from cnrmirror.server.tokens import Tokens, TokensFile, one_token
from cnrmirror.server.writing import Writing

if TYPE_CHECKING:
    import cnrmirror.server.metrics as watching
else:
    watching = later("cnrmirror.server.metrics")


TOKEN_VARIABLE = "CNRMIRROR_TOKEN"


def create_app(
    folder: str | os.PathLike[str],
    *,
    accept_push: bool = False,
    token: str | None = None,
    tokens: str | os.PathLike[str] | None = None,
    metrics: bool = False,
) -> Application:
    """The registry's API over a mirror project, for gunicorn or any other WSGI server.

    Each request sees the revision that is current then, whichever process made it.

    Args:
        folder: the project, or a folder in it.
        accept_push: takes POST and DELETE, too; the mirror's online keys must be at hand.
        token: what a change must bring; None: the environment's CNRMIRROR_TOKEN.
        tokens: a file of several, each with its rights, in the place of ``token``.
        metrics: answers ``/metrics``, but for the numbers of answers: of several processes, each
            would have its own.

    Raises:
        UsageError: there is no mirror, or there is no token, or both kinds of them.
        InputError: the file of tokens is not what it must be.
        NotTrusted: a key is missing.

    Example:
        gunicorn --threads 8 'cnrmirror.server:create_app("my-mirror")'
    """
    project = Project(find_project(Path(folder)))
    if project.partial:
        raise UsageError(
            f"{project.folder}: its store is served as it lies; what answers from it here is "
            "'cnrmirror serve'"
        )
    watched = watching.of_project(project, _now, counting=False) if metrics else None
    if not accept_push:
        return Application(project, None, watched)
    allowed = _tokens(token, tokens)
    online = online_keys(project.config)
    project.signer = repository(project, online.folder, given=online.given)
    with project.signing(_now()):
        pass  # what a killed command left is finished before somebody waits for an answer
    return Application(project, Writing(project, _now, allowed), watched)


def _tokens(token: str | None, file: str | os.PathLike[str] | None) -> Tokens:
    if file is not None:
        if token is not None:
            raise UsageError("tokens=… and token=…: give that token an entry in the file of tokens")
        return TokensFile(Path(file), logging.getLogger(__name__).error)
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    if not token:
        raise UsageError(
            f"pushes need tokens: tokens=…, token=…, or {TOKEN_VARIABLE} in the environment"
        )
    return one_token(token)


def _now() -> str:
    return str(Instant(datetime.now(UTC)))
