"""Plays workflows of GitHub on this machine: jobs, steps, composite actions, as its runners do.

``uses:`` of GitHub's own actions stand for what they do here: a clone, a copy. Every ``run:`` is a
script for bash with an environment of its own. What this file does not know is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
ACTION = "OWNER/cnrmirror/docs/recipes/github@v0.1.0"
_SHELLS = {"": ["-e"], "bash": ["--noprofile", "--norc", "-eo", "pipefail"]}
_CONDITION = re.compile(r"(\S+) (==|!=) '([^']*)'")


def load(path: Path) -> dict[str, Any]:
    """A file of YAML as GitHub reads it: ``on`` is a word."""
    document: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in document.items()}


class StepFailed(Exception):
    """A step that ended with another code than 0."""

    def __init__(self, name: str, code: int, said: str) -> None:
        super().__init__(f"{name} ended with {code}:\n{said}")
        self.code, self.said = code, said


class GitHub:
    """A repository, its secrets, and what is published of it.

    Attributes:
        folder: all of it lies there: ``remote`` (the bare repository), ``public`` (the pages).
        tools: where ``cnrmirror`` is, if the action is not to install it.
        environment: what a runner has besides its own.
    """

    def __init__(self, folder: Path, tools: Path | None, secrets: Mapping[str, str]) -> None:
        self.folder, self.tools, self.secrets = folder, tools, secrets
        self.remote, self.public = folder / "remote", folder / "public"
        self.environment: dict[str, str] = {}
        self.said: list[str] = []

    def play(self, workflow: Path, event: str) -> None:
        """All jobs of a workflow, as an event starts it. Raises StepFailed."""
        document = load(workflow)
        assert event in document["on"]
        for name, job in document["jobs"].items():
            needed = [job["needs"]] if "needs" in job else []
            done = list(document["jobs"])[: list(document["jobs"]).index(name)]
            assert set(needed) <= set(done), "in the order of what they need"
            Job(self, event).steps(job["steps"])


class Job:
    """One job, on a runner of its own: a home and a workspace that are empty."""

    def __init__(self, github: GitHub, event: str) -> None:
        self._github = github
        self._folder = github.folder / "runner"
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("home", "work", "temp"):
            (self._folder / name).mkdir(parents=True)
        for name in ("path", "env", "output"):
            (self._folder / name).touch()
        self._known = {"github.event_name": event, "steps.deployment.outputs.page_url": "a url"}
        self._known |= {f"secrets.{name}": value for name, value in github.secrets.items()}

    def steps(self, steps: list[dict[str, Any]], action: Path | None = None) -> None:
        for step in steps:
            if "if" not in step or self._holds(step["if"]):
                self._step(step, action)

    def _step(self, step: dict[str, Any], action: Path | None) -> None:
        if "uses" in step:
            self._use(step["uses"], {k: self._value(v) for k, v in step.get("with", {}).items()})
        elif action is None or self._github.tools is None or not step["name"].startswith("Install"):
            self._run(step, action)

    def _holds(self, condition: str) -> bool:
        match = _CONDITION.fullmatch(condition)
        assert match, condition
        return (self._known[match[1]] == match[3]) == (match[2] == "==")

    def _value(self, text: str) -> str:
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda match: self._known[match[1]], str(text))

    def _run(self, step: dict[str, Any], action: Path | None) -> None:
        assert "${{" not in step["run"], "values come by the environment"
        script = self._folder / "script"
        script.write_text(step["run"])
        added = (self._folder / "path").read_text().split()
        tools = [str(self._github.tools)] if self._github.tools else []
        files = {f"GITHUB_{n.upper()}": str(self._folder / n) for n in ("path", "env", "output")}
        environment = {
            **self._github.environment, **files, "CI": "true", "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self._folder / "work"), "GITHUB_REF": "refs/heads/main",
            "HOME": str(self._folder / "home"), "RUNNER_TEMP": str(self._folder / "temp"),
            "PATH": ":".join([*tools, *reversed(added), "/usr/bin", "/bin"]),
            **({"GITHUB_ACTION_PATH": str(action)} if action else {}),
            **{name: self._value(value) for name, value in step.get("env", {}).items()},
        }  # fmt: skip
        done = subprocess.run(
            ["/bin/bash", *_SHELLS[step.get("shell", "")], str(script)], env=environment,
            cwd=self._folder / "work", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        said = done.stdout + done.stderr
        self._github.said.append(said)
        if done.returncode:
            raise StepFailed(step.get("name", step["run"]), done.returncode, said)

    def _use(self, name: str, given: dict[str, str]) -> None:
        artifact = self._github.folder / "artifact"
        match name:
            case "actions/checkout@v4":
                self._clone(given["ref"])
            case "actions/setup-python@v5":
                assert float(given["python-version"].removeprefix("3.")) >= 11
                with (self._folder / "path").open("a") as file:
                    file.write(f"{sys.base_prefix}/bin\n")
            case "actions/upload-pages-artifact@v3":  # follows links, as its tar does
                shutil.rmtree(artifact, ignore_errors=True)
                source = self._folder / "work" / given["path"]
                shutil.copytree(source, artifact, ignore=shutil.ignore_patterns(".git", ".github"))
            case "actions/deploy-pages@v4":
                shutil.rmtree(self._github.public, ignore_errors=True)
                artifact.rename(self._github.public)
            case _:
                assert name == ACTION, name
                self._act(given)

    def _act(self, given: dict[str, str]) -> None:
        folder = ROOT / "docs/recipes/github"
        action = load(folder / "action.yml")
        assert set(given) <= set(action["inputs"])
        for name, of in action["inputs"].items():
            self._known[f"inputs.{name}"] = given.get(name, of["default"])
        self.steps(action["runs"]["steps"], folder)

    def _clone(self, ref: str) -> None:
        command = ["git", "clone", "--quiet", "--depth=1", "--branch", ref]
        address = self._github.remote.as_uri()
        subprocess.run([*command, address, self._folder / "work"], check=True)
