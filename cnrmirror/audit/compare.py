"""Do two mirrors of one registry tell one story?

What has a number has one content: a revision, a root, and every signed file of one version. Two
contents under one number, both signed, mean that keys were misused, or that two who have them have
not joined yet. A host alone cannot make them.
"""

from __future__ import annotations

from cnrmirror.audit.history import History
from cnrmirror.audit.report import Comparison, Contradiction
from cnrmirror.audit.signed import Witness, compare_files, two_files
from cnrmirror.model.progress import NoProgress, Progress, stage
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.trust.chain import read_role

_MOST_TOLD = 100


def compare(first: Witness, second: Witness, progress: Progress | None = None) -> Comparison:
    """What the second mirror tells beside the first: contradictions, and what cannot be told.

    Args:
        first, second: both verified by roots of one chain.
        progress: where it tells how far it is.
    """
    progress = progress or NoProgress()
    a, b = first.verified.root, second.verified.root
    catalog = second.verified.at.digest
    if a.registry != b.registry:
        reason = f"{first.place} is of {a.registry}, {second.place} of {b.registry}"
        other = Contradiction("registry", -1, a.registry, b.registry, reason)
        return Comparison(second.place, b.revision, catalog, contradictions=[other])
    found, notes = _roots(first, second)
    found += _timestamps(first, second)
    of_files, said = compare_files(first, second, progress)
    revisions = _Revisions(first, second)
    with stage(progress, "Comparing revisions", None) as steps:
        revisions.compare(steps)
    notes += [*said, *revisions.notes]
    # Revisions first: what they say is what the rest follows from.
    found = [*sorted(revisions.found, key=lambda each: each.number), *found, *of_files]
    if len(found) > _MOST_TOLD:
        notes.append(f"and {len(found) - _MOST_TOLD} contradictions more")
    errors = [h.error for h in (revisions.one, revisions.two) if h.error]
    return Comparison(
        second.place, b.revision, catalog, revisions.agreed, found[:_MOST_TOLD], notes,
        error=errors[0].message if errors else "",
        error_code=errors[0].exit_code if errors else 0,
    )  # fmt: skip


def _roots(first: Witness, second: Witness) -> tuple[list[Contradiction], list[str]]:
    one, two = first.chain.roots, second.chain.roots
    found = [
        two_files("root", first, second, one[version].file, two[version].file)
        for version in sorted(one.keys() & two.keys())
        if one[version].file.signed_sha256 != two[version].file.signed_sha256
    ]
    if max(one) != max(two):
        notes = [f"{first.place} shows root {max(one)}, {second.place} root {max(two)}"]
    else:
        notes = []
    return found, notes


def _timestamps(first: Witness, second: Witness) -> list[Contradiction]:
    one, two = (read_role(w.verified.offered, TIMESTAMP).file for w in (first, second))
    if one.version != two.version or one.signed_sha256 == two.signed_sha256:
        return []
    return [two_files("timestamp", first, second, one, two)]


class _Revisions:
    """Walks both histories, newest first, to the first revision that both have.

    All before that is the same: each revision names the one before by its digest.
    """

    def __init__(self, first: Witness, second: Witness) -> None:
        self._first, self._second = first, second
        self.one, self.two = (History(w.reader, w.verified) for w in (first, second))
        self.found: list[Contradiction] = []
        self.notes: list[str] = []
        self.agreed = -1

    def compare(self, steps: Progress) -> None:
        one, two = self.one, self.two
        while one.at.digest != two.at.digest:
            self._look()
            number = max(one.revision, two.revision)
            for history in [h for h in (one, two) if h.revision == number]:
                if not history.step():
                    self.notes.append(f"no revision was found that both have: {history.ended}")
                    return
                steps.advance()
        self.agreed = one.revision

    def _look(self) -> None:
        """Hold the revisions where both stand against each other."""
        one, two = self.one, self.two
        if one.revision == two.revision:
            self._differ(one.revision, one.at.digest, two.at.digest)
        elif one.lies_between(two.revision):
            self._differ(two.revision, "", two.at.digest)
        elif two.lies_between(one.revision):
            self._differ(one.revision, one.at.digest, "")

    def _differ(self, number: int, here: str, there: str) -> None:
        said = [
            f"{digest or 'not in the history'} at {witness.place}"
            for digest, witness in ((here, self._first), (there, self._second))
        ]
        reason = f"revision {number} is {said[0]}, but {said[1]}"
        self.found.append(Contradiction("revision", number, here, there, reason))
