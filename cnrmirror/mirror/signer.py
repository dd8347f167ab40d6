"""What a project needs of whoever signs its revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cnrmirror.model.documents import Head, RetentionFloor
from cnrmirror.model.signed import SignedHead

if TYPE_CHECKING:
    from cnrmirror.trust.guard import Guard
    from cnrmirror.trust.tuf import Root, Targets


class Signer(Protocol):
    """Makes a revision the current one, by signing it."""

    def check_keys(self, now: str) -> None:
        """Make sure that it can, before anything is written. Raises NotTrusted, StaleError."""

    @property
    def guard(self) -> Guard:
        """What refuses to sign, and remembers what was signed."""

    def sign_revision(
        self, head: Head, now: str, above: SignedHead | None = None,
        kept: RetentionFloor | None = None,
    ) -> None:  # fmt: skip
        """Sign and make ``head`` current, atomically and durably; ``now`` is ISO 8601, UTC.

        With ``above``, a signed head that is published elsewhere, no version is as low as there.
        With ``kept``, files are retained from those versions on.

        Raises:
            NotTrusted: a key is missing.
        """

    def require_keys(self, root: Root, targets: Targets | None = None) -> None:
        """Make sure that everything below a root that is to come can be signed. NotTrusted."""

    def write_root(self, data: bytes, version: int) -> None:
        """Put a root beside the others; ``sign_revision`` comes next."""

    def write_targets(self, data: bytes, version: int) -> None:
        """Put a targets file beside the others; ``sign_revision`` comes next."""

    def keep_from(self, kept: RetentionFloor, now: str) -> None:
        """Sign that superseded files are kept from these versions on; others may go then."""
