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

    A word is also near if it is what a known one, as ``NAMESPACE/NAME``, ends with.
    """
    words = list(dict.fromkeys(known))
    near = [name for name in words if name.endswith(f"/{word}")]
    near += difflib.get_close_matches(word, words, 3)
    names = [repr(name) for name in list(dict.fromkeys(near))[:3]]
    if not names:
        return ""
    last = names.pop()
    return f"; did you mean {', '.join(names)}{' or ' * bool(names)}{last}?"
