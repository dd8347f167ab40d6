"""The registry's own servers, cnr-server 0.2.7 and appr 0.7.4, under gunicorn on Python 2.7."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.servers import running

ROOT = Path(__file__).parents[2]
LEGACY = Path(os.environ.get("CNRMIRROR_LEGACY", ROOT / ".legacy"))
_MODULES = {"appr": "appr.api.wsgi:app", "cnr": "cnr.api.wsgi:app"}


def legacy(name: str, program: str) -> Path:
    """A program of a Python 2.7 environment; skips without it, fails in CI."""
    path = LEGACY / name / "bin" / program
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and CI must not skip this test")
        pytest.skip(f"{program} (Python 2.7) is not on this machine")
    return path


@contextmanager
def reference_server(
    name: str, folder: Path, port: int, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """One of the two with a new filesystem datastore in ``folder/db``; gives its base URL.

    Args:
        environment: more variables, for another datastore.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "DATABASE_URL": str(folder / "db"),
        "APPR_DB_CLASS": "filesystem",
        "CNR_DB_CLASS": "cnr.models.kv.filesystem.db:CnrDB",
        **(environment or {}),
    }
    program = legacy("cnr-server" if name == "cnr" else name, "gunicorn")
    command = [str(program), "-b", f"127.0.0.1:{port}", "-w", "1",
               "--worker-tmp-dir", str(folder), _MODULES[name]]  # fmt: skip
    with running(command, port, folder, environment=settings):
        yield f"http://127.0.0.1:{port}"
