"""What the lists of a live registry name, as far as they can be believed.

Lists of real registries are cut off (some before they are filtered, so that no number of rows tells
it), cached, and name only the newest release's formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from cnrmirror.model.errors import (
    AccessDenied,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
)
from cnrmirror.model.names import PackageName
from cnrmirror.sources.answers import Answers
from cnrmirror.sources.base import Hole
from cnrmirror.sources.filters import Wanted
from cnrmirror.sources.manifests import MAX_LIST_BYTES

_PACKAGES = "api/v1/packages"
_CAPS = (50, 100, 200, 250, 500, 1000)


class Listed(msgspec.Struct):
    """The wanted packages that the lists name, each with the releases that they name of it.

    ``complete`` and ``certain`` as in ``Listing``.
    """

    rows: dict[str, list[str]] = {}
    holes: list[Hole] = []
    notes: list[str] = []
    complete: bool = True
    certain: bool = True


class Lists:
    """The lists of a registry.

    Args:
        url: the registry's address.
        answers: asks.
        namespaces: ask for the lists of these only; all if empty.
        needed: whether nothing can be done without a list: no packages are named otherwise.
    """

    def __init__(self, url: str, answers: Answers, namespaces: Sequence[str], needed: bool) -> None:
        self._url = url
        self._answers = answers
        self._namespaces = namespaces
        self._needed = needed
        self._found = ""

    @property
    def base(self) -> str:
        """The address below which packages are asked for."""
        return self._found or f"{self._url}/cnr/{_PACKAGES}"

    @base.setter
    def base(self, address: str) -> None:
        self._found = address

    def read(self, wanted: Wanted) -> Listed:
        """Ask for them.

        Raises:
            AccessDenied, IncompleteError, NetworkError, InvalidDocument: there is no list, and no
                packages are named.
        """
        listed = Listed()
        for query in [f"?namespace={quote(n)}" for n in self._namespaces] or [""]:
            try:
                answer = self._list(query)
                if not isinstance(answer, list):
                    raise InvalidDocument(
                        f"{self.base}{query}: a list of packages was expected{_error_in(answer)}"
                    )
            except (AccessDenied, IncompleteError, NetworkError, InvalidDocument) as error:
                if self._needed:
                    raise
                listed.notes.append(f"no list: {error.message}; only the packages that are named")
                listed.complete = listed.certain = False
                continue
            if len(answer) in _CAPS:
                listed.complete = False
                listed.notes.append(
                    f"{self.base}{query} lists exactly {len(answer)} packages: it may be cut off; "
                    "name what is missing under 'packages'"
                )
            if answer and not any(map(_name, answer)):
                raise InvalidDocument(f"{self.base}{query}: nothing in it is a package")
            self._take(answer, wanted, listed)
        return listed

    def _list(self, query: str) -> Any:
        """One list; finds out whether the API is below ``/cnr``."""
        if self._found:
            return self._answers.json(f"{self._found}{query}", MAX_LIST_BYTES)
        below = f"{self._url}/cnr/{_PACKAGES}"
        try:
            answer = self._answers.json(f"{below}{query}", MAX_LIST_BYTES)
            self._found = below
        except (AccessDenied, IncompleteError, InvalidDocument) as error:
            beside = f"{self._url}/{_PACKAGES}"
            try:
                answer = self._answers.json(f"{beside}{query}", MAX_LIST_BYTES)
            except (IncompleteError, InvalidDocument):
                raise error from None
            self._found = beside
        return answer

    def _take(self, answer: list[Any], wanted: Wanted, listed: Listed) -> None:
        """Take the rows of one list, as far as they are wanted."""
        nameless = len(answer) - sum(1 for row in answer if _name(row))
        if nameless:
            # What they are is none that a mirror can have: they leave all others alone.
            listed.holes.append(Hole(f"{nameless} rows of the list", "they have no name", "?"))
        for row in answer:
            name = _name(row)
            if not name or not wanted.package(name):
                continue
            try:
                package = PackageName.parse(name)
            except InputError as error:
                listed.holes.append(Hole(name[:300], error.message, name[:300]))
                continue
            if self._namespaces and package.namespace not in self._namespaces:
                continue  # a registry that does not know the query
            releases = row.get("releases")
            releases = releases if isinstance(releases, list) else []
            listed.rows[name] = [r for r in releases if isinstance(r, str)]


def _name(row: Any) -> str:
    name = row.get("name") if isinstance(row, dict) else None
    return name if isinstance(name, str) else ""


def _error_in(answer: Any) -> str:
    """What a registry says in place of a list, for a message."""
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return f"; it says: {text[:200]}" if isinstance(text, str) else ""
