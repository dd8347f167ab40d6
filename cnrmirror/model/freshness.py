"""How long readers take a mirror: what its roles' dates of expiry mean. Pure."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from cnrmirror.model.instant import Instant

LIFETIME_DAYS = {"root": 365, "targets": 365, "catalog": 90, "snapshot": 90, "timestamp": 7}
"""How long each role is good after it was signed."""


class Expiry(msgspec.Struct, frozen=True, order=True):
    """When a role expires."""

    at: Instant
    role: str

    def left(self, now: Instant) -> timedelta:
        """How long it is still good; negative if it is expired."""
        return self.at.at - now.at

    def is_soon(self, now: Instant) -> bool:
        """Whether it expires within max(3 days, 10 % of its lifetime); timestamp: 1 day."""
        tenth = timedelta(days=LIFETIME_DAYS[self.role]) / 10
        least = timedelta(days=1 if self.role == "timestamp" else 3)
        return self.left(now) < max(least, tenth)


class Freshness(msgspec.Struct, frozen=True):
    """How long readers take what is signed: until the first of ``roles`` expires."""

    roles: list[Expiry]

    @property
    def first(self) -> Expiry:
        """The role that expires first."""
        return min(self.roles)

    def soon(self, now: Instant) -> list[Expiry]:
        """The roles that expire soon, or are expired; the first one first."""
        return sorted(role for role in self.roles if role.is_soon(now))

    def is_refused(self, now: Instant, fresh_for: timedelta = timedelta(0)) -> bool:
        """Whether readers refuse it now, or at any time within ``fresh_for``."""
        return self.first.left(now) <= fresh_for
