"""The registry as a WSGI application, for servers that are not ours."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from cnrmirror.mirror.config import find_project
from cnrmirror.mirror.home import online_keys
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.rotate import repository
from cnrmirror.model.errors import UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.server.app import Application
from cnrmirror.server.writing import Writing

TOKEN_VARIABLE = "CNRMIRROR_TOKEN"


def create_app(
    folder: str | os.PathLike[str], *, accept_push: bool = False, token: str | None = None
) -> Application:
    """The registry's API over a mirror project, for gunicorn or any other WSGI server.

    Each request sees the revision that is current then, whichever process made it.

    Args:
        folder: the project, or a folder in it.
        accept_push: takes POST and DELETE, too; the mirror's online keys must be at hand.
        token: what a change must bring; None: the environment's CNRMIRROR_TOKEN.

    Raises:
        UsageError: there is no mirror, or there is no token.
        NotTrusted: a key is missing.

    Example:
        gunicorn --threads 8 'cnrmirror.server:create_app("my-mirror")'
    """
    project = Project(find_project(Path(folder)))
    if not accept_push:
        return Application(project)
    token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
    if not token:
        raise UsageError(f"pushes need a token: token=…, or {TOKEN_VARIABLE} in the environment")
    online = online_keys(project.config)
    project.signer = repository(project, online.folder, given=online.given)
    with project.signing(_now()):
        pass  # what a killed command left is finished before somebody waits for an answer
    return Application(project, Writing(project, _now, token))


def _now() -> str:
    return str(Instant(datetime.now(UTC)))
