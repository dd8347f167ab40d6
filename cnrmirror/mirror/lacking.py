"""What a build would write and remove: every view compared, and nothing touched."""

from __future__ import annotations

from collections.abc import Sequence

from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.progress import stage
from cnrmirror.model.resource import Resource
from cnrmirror.views.cnr_paths import PACKAGES
from cnrmirror.views.site import ViewEntries, add_entries


def lacking(project: Project, root: CatalogRoot) -> tuple[int, int]:
    """How many files ``Builder.rebuild`` would write and remove.

    Args:
        project: the mirror, or a rehearsal of it.
        root: the revision that the views are to be of.
    """
    builder, views = project.builder, project.views
    begun = (project.site / PACKAGES).exists()
    expected: set[str] = set()

    def wrong(resources: Sequence[Resource]) -> int:
        expected.update(resource.path for resource in resources)
        return sum(bool(builder.tree.differs(r, builder.same_blob)) for r in resources)

    written = wrong(views.fixed())
    entries: ViewEntries = {}
    with stage(project.progress, "Comparing packages", root.packages) as progress:
        for ref in project.catalog.packages(root.tree):
            document = project.catalog.document(ref)
            package = views.load(project.catalog, document, project.store)
            written += wrong(views.package(package))
            add_entries(entries, views.entries([package]))
            progress.advance()
    written += wrong(views.all_lists(views.grouped(entries), root))
    # Where there are no lists, a build removes nothing.
    return written, sum(1 for _ in builder.extra(expected)) if begun else 0
