"""What must not be signed: for a time that is over, or in a mirror that is older than it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cnrmirror.model.errors import StaleError
from cnrmirror.model.instant import Instant
from cnrmirror.model.signed import TARGET
from cnrmirror.trust.roles import InForce, Versions, expiry, refuse_past
from cnrmirror.trust.tuf import Metadata, Timestamp
from cnrmirror.trust.witness import Seen, Witness

_LONG_COMMAND = timedelta(hours=6)


class Guard:
    """Looks at what is to be signed, and remembers what was.

    Args:
        clock: the machine's, against which the times are held for which something is to be signed;
            None: sign for whatever time is said, and say nothing.
        witness: knows what was signed last.
        tell: is told, once, that the mirror is older than that.
    """

    def __init__(
        self, clock: Callable[[], Instant] | None = None, witness: Witness | None = None,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._witness = witness
        self._tell = tell
        self._is_told = False

    def require(self, now: str, before: Metadata[Timestamp] | None) -> None:
        """Refuse to sign what is not good.

        Args:
            now: the time for which something is to be signed.
            before: the timestamp in force.

        Raises:
            StaleError: what is signed for that time would be expired already, or sooner than what
                is there.
        """
        if self._clock is not None:
            self.expiry(now, before)
            self.look_back(before)

    def look_back(self, before: Metadata[Timestamp] | None) -> None:
        """Tell, once, if a later timestamp than the one in force was signed here."""
        text = self._witness.later_than(before.signed.version) if self._witness and before else ""
        if text and not self._is_told:
            self._tell(text)
            self._is_told = True

    def expiry(self, now: str, before: Metadata[Timestamp] | None) -> datetime:
        """When a timestamp that is signed for a time expires: never sooner than the one before.

        A long command signs for the time at which it began, though another one signed meanwhile.
        """
        until = expiry("timestamp", now)
        if self._clock is None:
            return until
        refuse_past(now, self._clock())
        if before is None or before.signed.expires <= until:
            return until
        if before.signed.expires - until > _LONG_COMMAND:
            raise StaleError(
                f"what is there was signed for a later time than {now}, and is good until "
                f"{before.signed.expires.isoformat()}: set the clock; if an earlier clock ran "
                "ahead, use --allow-past"
            )
        return before.signed.expires

    @property
    def seen_revision(self) -> int:
        """The highest number of a revision that was signed here, as far as anybody remembers."""
        return self._witness.seen().revision if self._witness else 0

    def highest(self, old: Versions) -> Versions:
        """The highest versions that were ever signed here: those in force, but for an old copy."""
        seen = self._witness.seen() if self._witness else Seen()
        return Versions(
            max(old.catalog, seen.catalog),
            max(old.snapshot, seen.snapshot),
            max(old.timestamp, seen.timestamp),
        )

    def note(self, now: InForce) -> None:
        """Remember what is in force now."""
        if self._witness is None:
            return
        custom = now.catalog.signed.targets[TARGET].custom if now.catalog else None
        revision = int((custom or {}).get("revision", 0))
        of = now.versions
        self._witness.note(Seen("", of.timestamp, of.snapshot, of.catalog, revision))
