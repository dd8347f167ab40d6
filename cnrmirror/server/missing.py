"""What the registry says of what is not there: its codes, words and details."""

from __future__ import annotations

from cnrmirror.model.errors import NotFoundError


class NoChannel(NotFoundError):
    code = "channel-not-found"


class NoRelease(NotFoundError):
    code = "package-release-not-found"


def no_package(
    package: str, release: str | None = None, media_type: str | None = None
) -> NotFoundError:
    """The error of a package that is not there, or not in this release and media type."""
    return NotFoundError(
        f"package {package} doesn't exist, v: {release}, type: {media_type}",
        package=package,
        release=release,
        media_type=media_type,
    )


def no_channel(channel: str) -> NotFoundError:
    """The error of a channel; the servers put its name into the place of the package's."""
    return NoChannel(f"No channel found for package '{channel}'", package=channel)


def no_match(package: str, query: str) -> NotFoundError:
    """The error of a release, or of a range of releases, that none of the package's fits."""
    return NoRelease(
        f"No release match '{query}' for package '{package}'", package=package, release_query=query
    )
