"""cost: what it counts is what a publish brings, and what lies on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cnrmirror.cli import cli
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.publish.cost import Amount, cost_at, cost_here
from cnrmirror.publish.session import Session
from tests.place_forms import ALL, NOW, bucket_of, mirror_of_two_releases


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return mirror_of_two_releases(tmp_path)


def size_of(objects: dict[str, bytes]) -> Amount:
    found = [data for key, data in objects.items() if not key.startswith(".cnrmirror/")]
    return Amount(len(found), sum(map(len, found)))


@pytest.mark.parametrize("forms", [[], ["json"], [*ALL]])
def test_a_bucket_is_counted_as_a_publish_fills_it(project: Project, forms: Any) -> None:
    target = PublishTo(to="s3://memory/x", forms=forms)
    cost = cost_at(project, target)
    assert cost.all == size_of(bucket_of(project, forms))
    assert sum(kind.bytes for kind in cost.kinds.values()) == cost.all.bytes
    assert sum(kind.files for kind in cost.kinds.values()) == cost.all.files
    for form, amount in cost.choices.items():
        other = size_of(bucket_of(project, [f for f in ALL if (f in forms) != (f == form)]))
        assert amount == Amount(other.files - cost.all.files, other.bytes - cost.all.bytes), form
    assert cost.releases == 2 and cost.files_a_release == cost.all.files / 2
    assert cost.put_dollars == pytest.approx(5e-6 * cost.all.files) and cost.month_dollars > 0


@pytest.mark.parametrize("more", [{"host": "netlify"}, {"host": "github-pages"}, {"links": False}])
def test_a_folder_without_links_is_counted_as_a_publish_fills_it(
    project: Project, tmp_path: Path, more: dict[str, Any]
) -> None:
    target = msgspec.structs.replace(PublishTo(to=str(tmp_path / "out")), **more)
    with Session.open(project, target) as session:
        session.publish(NOW)
    cost = cost_at(project, target)
    files = [
        p for p in (tmp_path / "out").rglob("*") if p.is_file() and ".cnrmirror" not in p.parts
    ]
    assert cost.all == Amount(len(files), sum(p.stat().st_size for p in files))
    assert cost.put_dollars == cost.month_dollars == 0


def test_the_site_is_counted_as_it_lies_on_the_disk(project: Project) -> None:
    inodes, files, links = {}, 0, 0
    for folder, folders, names in os.walk(project.site):
        for name in [*names, *(f for f in folders if os.path.islink(os.path.join(folder, f)))]:
            path = Path(folder, name)
            if path.is_symlink():
                links += 1
            else:
                files += 1
                inodes[path.stat().st_ino] = path.stat().st_size
    cost = cost_here(project)
    assert cost.all == Amount(files + links, sum(inodes.values()))
    assert sum(a.files for kind, a in cost.kinds.items() if kind.endswith("links")) == links


def test_the_command_tells_of_the_site_and_of_each_target(project: Project) -> None:
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write("publish:\n  far: {to: 's3://bucket/x'}\n  near: {to: out, links: false}\n")
    run = CliRunner().invoke(cli, ["-C", str(project.folder), "cost"])
    assert run.exit_code == 0, run.output
    rows = [line.split("\t") for line in run.output.splitlines()]
    assert {row[0] for row in rows} == {"site", "s3://bucket/x", str(project.folder / "out")}
    assert all(len(row) == 4 for row in rows)
    run = CliRunner().invoke(cli, ["--json", "-C", str(project.folder), "cost", "near"])
    here, near = json.loads(run.output)
    assert here["place"] == "site" and near["choices"].keys() == set(ALL)
    run = CliRunner().invoke(cli, ["-C", str(project.folder), "cost", "nowhere"])
    assert run.exit_code == 2 or run.exception is not None


def test_an_empty_mirror_costs_what_an_empty_mirror_has(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(cli, ["init", str(tmp_path / "m")]).exit_code == 0
    run = runner.invoke(cli, ["-C", str(tmp_path / "m"), "cost"])
    assert run.exit_code == 0 and "times the archives\t\t0.00" in run.output


def test_a_plan_names_money_for_a_bucket_and_none_for_a_folder(project: Project) -> None:
    run = CliRunner().invoke(
        cli, ["-C", str(project.folder), "publish", str(project.folder / "out"), "--dry-run"]
    )
    assert run.exit_code == 0 and "to write" in run.output and "$" not in run.output
