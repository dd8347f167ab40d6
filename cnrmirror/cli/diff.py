"""diff: what changed between two revisions."""

from __future__ import annotations

import click

from cnrmirror.cli.context import Context, pass_context
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import PackageRef

_DETAILS = (" archive", " metadata", " created", " releases")


@click.command()
@click.argument("old", metavar="A")
@click.argument("new", metavar="B", default="head")
@pass_context
def diff(context: Context, old: str, new: str) -> None:
    """What changed from revision A to revision B: releases and channels, one a line."""
    project = context.project()
    before, after = project.revision(old)[1].tree, project.revision(new)[1].tree
    rows: list[tuple[str, str, str]] = []
    for difference in project.catalog.diff(before, after):
        olds, news = _facts(project, difference.old), _facts(project, difference.new)
        for fact in sorted(olds.keys() | news.keys()):
            if olds.get(fact) != news.get(fact) and not _implied(fact, olds, news):
                sign = "+" if fact not in olds else "-" if fact not in news else "~"
                rows.append((sign, f"{difference.name}{fact}", news.get(fact) or olds[fact]))
    keys = ("change", "what", "value")
    context.table(
        [dict(zip(keys, row, strict=True)) for row in rows], ("", "WHAT", "DIGEST OR RELEASE"), rows
    )


def _implied(fact: str, olds: dict[str, str], news: dict[str, str]) -> bool:
    """A detail of a release that came or went, or of a channel that moved: that says it all."""
    whole = next((fact.removesuffix(end) for end in _DETAILS if fact.endswith(end)), None)
    return whole is not None and olds.get(whole) != news.get(whole)


def _facts(project: Project, ref: PackageRef | None) -> dict[str, str]:
    if ref is None:
        return {}
    document = project.catalog.document(ref)
    facts = {}
    for release in document.releases:
        name = f"@{release.release} ({release.media_type})"
        facts[name] = release.content.digest
        facts[f"{name} archive"] = release.blob.digest
        facts[f"{name} metadata"] = Descriptor.of(bytes(release.metadata)).digest
        facts[f"{name} created"] = release.created_at
    for channel in document.channels:
        facts[f":{channel.name}"] = channel.current
        facts[f":{channel.name} releases"] = " ".join(channel.releases)
    for stone in document.tombstones:
        facts[f"@{stone.release} ({stone.media_type}) removed"] = stone.reason
    return facts


COMMAND = diff
