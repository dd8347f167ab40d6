"""serve answers as the two reference servers did, all 509 times each."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.test import Client

from cnrmirror.server.app import Application
from tests.recorded import Recorded, differs_on_purpose, problems


@pytest.mark.parametrize("prefix", ["/cnr", ""])
def test_serve_answers_as_the_reference_server(
    recorded: Recorded, tmp_path: Path, prefix: str
) -> None:
    client = Client(Application(recorded.mirror(tmp_path / "m")))
    wrong = []
    for answer in recorded.answers:
        if differs_on_purpose(answer["path"]):
            continue
        with client.get(prefix + answer["path"]) as response:
            found = problems(
                answer, response.status_code, response.headers, response.data, static=False
            )
        if found:
            wrong.append(f"{answer['path']}: {found}")
    assert len(recorded.answers) == 509
    assert "\n".join(wrong) == ""
