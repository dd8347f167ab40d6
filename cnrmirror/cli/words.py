"""The words that a shell completes: what the mirror has, and what mirror.yaml names.

A mistake in them is no error of the command: then there are none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click

from cnrmirror.cli.context import Context
from cnrmirror.model.documents import PackageDocument
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.later import later
from cnrmirror.model.names import Reference

if TYPE_CHECKING:
    from cnrmirror.mirror import project as projects
else:
    projects = later("cnrmirror.mirror.project")

_MOST = 1000
_Complete = Callable[[click.Context, click.Parameter, str], list[str]]
_Words = Callable[["projects.Project", click.Context, str], Iterable[str]]


def _of_mirror(words: _Words) -> _Complete:
    """What click asks for words, made of what finds them in the mirror that -C names."""

    @functools.wraps(words)
    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        folder = str(ctx.find_root().params.get("folder") or ".")
        try:
            found = words(Context(folder).project(), ctx, incomplete)
            return list(islice((w for w in found if w.startswith(incomplete)), _MOST))
        except (CnrMirrorError, OSError):
            return []

    return complete


@_of_mirror
def packages(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Names of packages."""
    return sorted(ref.name for ref in project.catalog.packages(project.tree()))


@_of_mirror
def references(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Names of packages; behind ``@`` of releases, behind ``:`` of channels."""
    name, mark, _ = incomplete.partition("@" if "@" in incomplete else ":")
    if not mark:
        return sorted(ref.name for ref in project.catalog.packages(project.tree()))
    document = project.document(name)
    if mark == ":":
        return [f"{name}:{channel.name}" for channel in document.channels]
    return [f"{name}@{release}" for release in dict.fromkeys(r.release for r in document.releases)]


@_of_mirror
def channels(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """The channels of the package that was said before."""
    return [channel.name for channel in _document(project, ctx).channels]


@_of_mirror
def releases(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """The releases of the package that was said before."""
    return dict.fromkeys(release.release for release in _document(project, ctx).releases)


def _document(project: projects.Project, ctx: click.Context) -> PackageDocument:
    return project.document(str(Reference.parse(ctx.params["package"]).package))


@_of_mirror
def revisions(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """The numbers of revisions, newest first."""
    history = project.catalog.history(project.head().catalog)
    return (str(root.revision) for _, root in islice(history, _MOST))


@_of_mirror
def namespaces(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """Namespaces of packages."""
    refs = project.catalog.packages(project.tree())
    return sorted({ref.name.partition("/")[0] for ref in refs})


@_of_mirror
def sources(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """The sources of mirror.yaml."""
    return list(project.config.sources)


@_of_mirror
def targets(project: projects.Project, ctx: click.Context, incomplete: str) -> Iterable[str]:
    """The targets of mirror.yaml."""
    return list(project.config.publish)
