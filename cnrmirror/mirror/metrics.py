"""What monitors are told of a mirror itself: its revision, and until when readers take it."""

from __future__ import annotations

from cnrmirror.mirror.project import Project
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.exposition import Family, Sample
from cnrmirror.model.freshness import Freshness
from cnrmirror.model.instant import Instant


def project_families(project: Project) -> list[Family]:
    """As ``mirror_families``, of what a project stands at now.

    Raises:
        DamageError: its signed files are not what they must be.
        NotFoundError: it follows another mirror, and has taken in nothing yet.
    """
    return mirror_families(project.root(), project.metadata.freshness())


def mirror_families(root: CatalogRoot, freshness: Freshness) -> list[Family]:
    """Gauges of a revision and of the roles that sign it; no package is read for them."""
    expiries = [
        Sample(seconds(role.at), {"role": role.role})
        for role in sorted(freshness.roles, key=lambda role: role.role)
    ]
    return [
        Family(
            "cnrmirror_revision", "The number of the current revision.", [Sample(root.revision)]
        ),
        Family(
            "cnrmirror_revision_timestamp_seconds",
            "When the current revision was made, in seconds since 1970.",
            [Sample(seconds(Instant.parse(root.time)))],
        ),
        Family("cnrmirror_packages", "Packages of the current revision.", [Sample(root.packages)]),
        Family("cnrmirror_releases", "Releases of the current revision.", [Sample(root.releases)]),
        Family(
            "cnrmirror_role_expiry_timestamp_seconds",
            "When readers begin to refuse what a role signed, in seconds since 1970.",
            expiries,
        ),
    ]


def seconds(moment: Instant) -> int:
    """Whole seconds since 1970."""
    return int(moment.at.timestamp())
