"""The workflows of docs/recipes, played: their own steps, days after days."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from tests.conftest import chart_bytes
from tests.machine import Machine
from tests.recipes import RECIPES, git, repository, tools, web
from tests.s3_double import serving
from tests.workflow import GitHub, StepFailed

PAGES = RECIPES / "github/pages.yml"
TO_PAGES = "publish: {pages: {to: ../public, host: github-pages}}\n"
SOURCES = "sources: {ours: {type: charts, folder: ../charts, namespace: charts}}\n"


@pytest.fixture
def pages(tmp_path: Path) -> GitHub:
    """A repository with a mirror for GitHub Pages; nothing was published yet."""
    folder = tmp_path / "github"
    _, keys = repository(folder, TO_PAGES)
    return GitHub(folder, tools(folder / "tools"), {"CNRMIRROR_KEYS": keys})


def commit(github: GitHub, path: str, data: bytes) -> None:
    """A person changes a file, and pushes."""
    clone = github.folder / "clone"
    if not clone.exists():
        git("clone", "--quiet", github.remote, clone, cwd=github.folder)
    git("pull", "--quiet", cwd=clone)
    (clone / path).write_bytes(data)
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "-m", "A change", cwd=clone)
    git("push", "--quiet", cwd=clone)


def read(github: GitHub, reader: Path, days: float, code: int = 0) -> str:
    """What a client with root.json gets that day: the package, and all of it audited."""
    machine = Machine(reader)
    machine.moved = timedelta(days=days, minutes=5)
    options = ("--root", str(github.folder / "root.json"), "--dest", f"day-{days}", "--tarball")
    (reader / f"day-{days}").mkdir()
    with web(github.public) as url:
        said = machine("pull", "charts/nginx", "--from", url, *options, code=code)
        if not code:
            machine("check", "--from", url, "--strict")
    return said


@pytest.mark.interop  # it takes a minute
def test_pages_live_for_ever_by_the_schedule_alone(pages: GitHub, tmp_path: Path) -> None:
    pages.play(PAGES, "push")
    read(pages, tmp_path / "reader", 0)
    for day in range(1, 46):
        pages.tools = tools(pages.folder / "tools", day)
        pages.play(PAGES, "schedule")
        if day in (30, 45):
            read(pages, tmp_path / f"reader-{day}", day)
            read(pages, tmp_path / "reader", day)
    assert len(git("log", "--oneline", cwd=pages.remote).splitlines()) == 47


def test_pages_without_the_schedule_are_stale_after_seven_days(
    pages: GitHub, tmp_path: Path
) -> None:
    pages.play(PAGES, "push")
    read(pages, tmp_path / "reader-6", 6)
    for day in (8, 30, 45):
        assert "expired" in read(pages, tmp_path / f"reader-{day}", day, code=10)


def test_a_package_that_is_refused_does_not_keep_pages_from_being_signed(pages: GitHub) -> None:
    pages.play(PAGES, "push")
    commit(pages, "charts/nginx-1.0.0.tgz", chart_bytes("nginx", "1.0.0", "other bytes"))
    before = (pages.public / "catalog/metadata/timestamp.json").read_bytes()
    with pytest.raises(StepFailed, match="Take in the packages ended with 4"):
        pages.play(PAGES, "push")
    assert (pages.public / "catalog/metadata/timestamp.json").read_bytes() == before
    pages.play(PAGES, "schedule")
    assert (pages.public / "catalog/metadata/timestamp.json").read_bytes() != before


def test_no_key_comes_into_the_repository_the_pages_or_the_log(pages: GitHub) -> None:
    pages.play(PAGES, "push")
    secret = pages.secrets["CNRMIRROR_KEYS"].splitlines()[1]
    clone = pages.folder / "all"
    git("clone", "--quiet", pages.remote, clone, cwd=pages.folder)
    for folder in (clone, pages.public, pages.folder / "runner"):
        for path in folder.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    assert not [said for said in pages.said if secret in said]


def test_without_the_secret_nothing_is_signed_and_the_job_fails(pages: GitHub) -> None:
    pages.secrets = {"CNRMIRROR_KEYS": ""}  # as GitHub gives a secret that is not there
    with pytest.raises(StepFailed, match="Run ended with 9"):
        pages.play(PAGES, "schedule")


def test_the_workflow_for_a_bucket_takes_in_keeps_and_publishes(tmp_path: Path) -> None:
    folder = tmp_path / "github"
    with serving() as bucket:
        publish = f'publish: {{production: {{to: "s3://site/registry", endpoint: {bucket.url}}}}}\n'
        _, keys = repository(folder, SOURCES + publish)
        secrets = {"CNRMIRROR_KEYS": keys, "AWS_ACCESS_KEY_ID": "somebody",
                   "AWS_SECRET_ACCESS_KEY": "secret"}  # fmt: skip
        github = GitHub(folder, tools(folder / "tools"), secrets)
        github.play(RECIPES / "github/s3.yml", "schedule")
        pulls = [key for key in bucket.objects if key.endswith("nginx/1.0.0/helm/pull")]
        assert len(pulls) == 1 and bucket.objects[pulls[0]] == chart_bytes("nginx", "1.0.0")
        assert {asked.signed_for for asked in bucket.asked} == {("somebody", "us-east-1")}
        assert "Sign the mirror" in git("log", "--oneline", cwd=github.remote)
        commit(github, "charts/bad-1.0.0.tgz", b"no archive")
        commit(github, "charts/web-1.0.0.tgz", chart_bytes("web", "1.0.0"))
        with pytest.raises(StepFailed, match=r"End as the sync did .* ended with 14"):
            github.play(RECIPES / "github/s3.yml", "schedule")
        assert [key for key in bucket.objects if key.endswith("web/1.0.0/helm/pull")]


class GitLab:
    """A repository at GitLab, and a runner for its only job."""

    def __init__(self, folder: Path, keys: str) -> None:
        self.folder = folder
        self.job = yaml.safe_load((RECIPES / "gitlab/.gitlab-ci.yml").read_text())["registry"]
        (folder / "keys").write_text(keys)
        self.environment = {
            "HOME": str(folder), "CI": "true", "CI_DEFAULT_BRANCH": "main",
            "PATH": f"{tools(folder / 'tools')}:/usr/bin:/bin",
            "CNRMIRROR_KEYS_FILE": str(folder / "keys"), "CNRMIRROR_PUSH_TOKEN": "a-token",
            "CI_SERVER_PROTOCOL": "https", "CI_SERVER_HOST": "git.example.com",
            "CI_PROJECT_PATH": "team/registry",
        }  # fmt: skip
        git("config", "receive.advertisePushOptions", "true", cwd=folder / "remote")
        # What the job pushes to is the repository here.
        address = "https://registry:a-token@git.example.com/team/registry.git"
        (folder / ".gitconfig").write_text(f'[url "{folder}/remote"]\n  insteadOf = {address}\n')

    def play(self) -> subprocess.CompletedProcess[str]:
        """The job's script, in a fresh checkout of a commit, as GitLab's runners have it."""
        work = self.folder / "builds"
        subprocess.run(["rm", "-rf", work], check=True)
        git("clone", "--quiet", self.folder / "remote", work, cwd=self.folder)
        git("checkout", "--quiet", "--detach", cwd=work)
        script = "set -eo pipefail\n" + "\n".join(self.job["script"])
        return subprocess.run(["/bin/bash", "-c", script], cwd=work, env=self.environment,
                              capture_output=True, text=True)  # fmt: skip


def test_the_job_for_gitlab_takes_in_keeps_and_publishes(tmp_path: Path) -> None:
    folder = tmp_path / "gitlab"
    remote, keys = repository(folder, SOURCES + f"publish: {{web: {{to: {folder}/public}}}}\n")
    gitlab = GitLab(folder, keys)
    done = gitlab.play()
    assert done.returncode == 0, done.stderr
    assert (folder / "public/cnr/api/v1/packages/charts/nginx/1.0.0/helm/pull").exists()
    assert "Sign the mirror" in git("log", "-1", "--oneline", "main", cwd=remote)
    assert gitlab.play().returncode == 0, "the next day"
    assert len(git("log", "--oneline", "main", cwd=remote).splitlines()) == 3


def test_the_secrets_that_the_workflows_name_are_those_of_their_heads() -> None:
    for name in ("github/pages.yml", "github/s3.yml", "gitlab/.gitlab-ci.yml"):
        text = (RECIPES / name).read_text()
        head = text.partition("\nname:")[0].partition("\nworkflow:")[0]
        used = set(re.findall(r"secrets\.(\w+)|\$\{?(CNRMIRROR_(?:KEYS_FILE|PUSH_TOKEN))", text))
        assert {one or other for one, other in used} <= set(re.findall(r"[A-Z_]{8,}", head))
