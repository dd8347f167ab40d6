"""A kind of source in one file, as somebody may write one: packages out of one line of text."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator

from cnrmirror.model.names import manifest_type
from cnrmirror.sources.base import Ask, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, SourceRules, bad_namespace


class Toy(SourceRules, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="toy"):
    """Charts that are made from their names: ``text`` is ``a-1.0.0 b-2.0.0``."""

    text: str
    namespace: str


class ToySource:
    def __init__(self, name: str, settings: Toy) -> None:
        self.name = name
        self._settings = settings

    def look(self, ask: Ask) -> Listing:
        offers = [
            Offer(f"{self._settings.namespace}/{name}", release, "helm", "2026-01-02T03:04:05",
                  manifest_type("helm", "appr"), "", 0, "")
            for name, _, release in (word.partition("-") for word in self._settings.text.split())
        ]  # fmt: skip
        return Listing(offers, {}, [], [])

    def open(self, offer: Offer) -> Iterator[bytes]:
        name = offer.package.partition("/")[2]
        text = f"name: {name}\nversion: {offer.release}\n".encode()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            member = tarfile.TarInfo(f"{name}/Chart.yaml")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        yield gzip.compress(buffer.getvalue(), mtime=0)


class _Kind:
    settings = Toy

    def check(self, settings: Toy) -> Iterator[Problem]:
        yield from bad_namespace("namespace", settings.namespace)
        if not settings.text:
            yield "text", "there is nothing in it"

    def open(self, name: str, settings: Toy, room: SourceRoom) -> Source:
        return ToySource(name, settings)


KIND = _Kind()
