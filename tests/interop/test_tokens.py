"""The commands that docs/serve.md shows make a token that serve takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from cnrmirror.mirror.project import Project
from tests.test_serve import BASE, serving
from tests.test_serve import chart as body_of

pytestmark = pytest.mark.interop
SERVE = (Path(__file__).parents[2] / "docs/serve.md").read_text()


def test_the_documented_commands_make_a_token_and_its_entry(
    project: Project, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing, and CI must not skip this test")
        pytest.skip("openssl is not installed")
    tokens = SERVE.partition("\n## Tokens\n")[2]
    example, commands = re.findall(r"```(?:yaml|sh)\n(.*?)```", tokens, re.S)[:2]
    done = subprocess.run(
        ["sh", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    digest = done.stdout.split()[0]
    token = (tmp_path / "ci-bot.token").read_text().strip()
    assert len(token) == 64 and (tmp_path / "ci-bot.token").stat().st_mode & 0o077 == 0
    file = tmp_path / "tokens.yaml"
    file.write_text(re.sub(r"sha256: [0-9a-f]{64}", f"sha256: {digest}", example))
    with serving(project, "--accept-push", "--tokens", str(file)) as address:
        for namespace, status in (("charts", 200), ("tools", 200), ("other", 403)):
            answer = requests.post(
                f"{address}{BASE}/{namespace}/a", json=body_of(), timeout=60,
                headers={"Authorization": f"Bearer {token}"},
            )  # fmt: skip
            assert answer.status_code == status, answer.text
