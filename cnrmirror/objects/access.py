"""In whose name hosts are asked, and the words for what is refused: by them, or by us."""

from __future__ import annotations

import msgspec

from cnrmirror.model.errors import AccessDenied, Tampered
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.guard import PrivateAddress


class Access(msgspec.Struct, frozen=True):
    """With what a site is asked; as it stands, for one that a person names on the command line.

    Args:
        source: the source of mirror.yaml that asks; "" for none.
        setting: what gave the credentials, if there are any.
        advice: how credentials are given.
        static: a static host, which may answer 403 for a file that is missing, as S3 does.
        allow_private: go wherever the site leads, into this network, too.
        tls: certificates.
    """

    source: str = ""
    setting: str = "the address"
    advice: str = "give credentials in the address: https://USER:PASSWORD@HOST"
    static: bool = True
    allow_private: bool = False
    tls: Tls = Tls()

    def refused(
        self, where: str, status: int, given: bool, stranger: str, challenge: str = ""
    ) -> AccessDenied:
        """The error for an answer 401 or 403.

        Args:
            where: what was asked for.
            status: the answer's.
            given: whether there are credentials.
            stranger: the host that answers, if it is not the site's own: it never gets them.
            challenge: what the host wants to see (RFC 9110, 11.6.1).
        """
        if stranger:
            what = "the credentials were not" if given else "no credentials are"
            reason = f"{what} sent: {stranger} is not the source's own host"
        elif given:
            reason = f"the credentials of {self.setting} are refused"
        else:
            reason = self.advice
        text = f"{self._who}{where} refuses ({status}); {reason}"
        wanted = {"challenge": challenge} if challenge else {}
        return AccessDenied(text, status=status, **wanted)

    def private(self, where: str, error: PrivateAddress) -> Tampered:
        """The error for an address that leads from a public host into this network."""
        way = "set allow_private: true" if self.source else "name that address itself"
        return Tampered(
            f"{self._who}{where} leads to {error.host:.200} ({error.place}), which is not a public "
            f"address; if that is meant, {way}"
        )

    @property
    def _who(self) -> str:
        return f"source {self.source}: " if self.source else ""
