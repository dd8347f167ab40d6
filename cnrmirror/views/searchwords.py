"""The words of a package by which it is found."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from cnrmirror.views.pagelinks import text

_WORD = re.compile("[A-Za-z0-9]+")
_LONGEST_WORD = 39
# search.js leaves out the same.
STOP_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "be", "by", "can", "for", "from", "in", "into", "is"),
        *("it", "of", "on", "or", "that", "the", "this", "to", "using", "via", "which"),
        *("with", "you", "your", "are", "its", "will"),
    )
)
_DESCRIPTION = 110
_MOST_TEXT = 2000
_MOST_KEYWORDS = 40


class Words(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the search needs of one package.

    The words stand in one text each, and no word in two of them: those of the name, those of the
    keywords and the namespace, those of the description.
    """

    release: str
    description: str
    name: str
    keywords: str
    text: str

    def kinds(self) -> tuple[str, str, str]:
        """The three texts, best first."""
        return self.name, self.keywords, self.text


def in_short(description: str) -> str:
    """As much of a description as rows show."""
    return text(description, _DESCRIPTION)


def words_of(package: str, release: str, description: str, keywords: Iterable[str]) -> Words:
    """The words of a package by which it is found; names also in one word (``redisha``).

    Example:
        >>> words_of("db/redis-ha", "1.0.0", "A fast store", ["cache"])
        Words(release='1.0.0', description='A fast store', name='ha redis redisha', \
keywords='cache db', text='fast store')
    """
    namespace, _, short = package.partition("/")
    name = {*_split(short), *_split("".join(_WORD.findall(short)))}
    kept = [word for word, _ in zip(keywords, range(_MOST_KEYWORDS), strict=False)]
    tagged = {*_split(" ".join([namespace, *(text(word, 100) for word in kept)]))} - name
    described = {*_split(text(description, _MOST_TEXT))} - name - tagged
    return Words(
        release, in_short(description),
        *(" ".join(sorted(words)) for words in (name, tagged, described)),
    )  # fmt: skip


def _split(given: str) -> list[str]:
    found = (word.lower() for word in _WORD.findall(given))
    return [w for w in found if 2 <= len(w) <= _LONGEST_WORD and w not in STOP_WORDS]
