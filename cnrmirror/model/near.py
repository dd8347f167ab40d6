"""What a mistyped word may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cnrmirror.model.later import later

if TYPE_CHECKING:
    import difflib
else:
    difflib = later("difflib")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'publish'?`` for ``publsih``; "" where no known word is near.

    A word is also near if it is what a known one, as ``NAMESPACE/NAME``, ends with. A common
    namespace alone makes no names near.
    """
    words = list(dict.fromkeys(known))
    near = [name for name in words if name.endswith(f"/{word}")]
    near += [name for name in difflib.get_close_matches(word, words, 9) if _are_near(word, name)]
    names = [repr(name) for name in list(dict.fromkeys(near))[:3]]
    if not names:
        return ""
    last = names.pop()
    return f"; did you mean {', '.join(names)}{' or ' * bool(names)}{last}?"


def _are_near(word: str, name: str) -> bool:
    """Whether what follows the last slash is alike."""
    ends = [each.rpartition("/")[2] for each in (word, name)]
    return bool(difflib.get_close_matches(ends[0], ends[1:], 1))
