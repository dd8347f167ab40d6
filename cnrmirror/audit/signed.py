"""The signed files that two mirrors retain, held against each other version by version."""

from __future__ import annotations

import functools
from typing import Literal

from cnrmirror.audit.report import Contradiction
from cnrmirror.client.remote import PARALLEL
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.evidence import SignedFile
from cnrmirror.model.progress import Progress, stage
from cnrmirror.objects.base import Reader
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.trust.chain import RootChain, accepts, fetch_role
from cnrmirror.trust.tuf import Metadata, Targets
from cnrmirror.trust.verify import Verified

_MOST = 10_000
_MOST_NOTES = 3
Kind = Literal["targets", "snapshot", "catalog"]
_KINDS: tuple[Kind, ...] = ("targets", "snapshot", "catalog")
_TYPES = {"targets": "targets", "snapshot": "snapshot", "catalog": "targets"}


class Witness:
    """A mirror as somebody sees it who remembers nothing.

    Args:
        place: what it is called.
        reader: reads it.
        verified: what the pinned root vouches for there.
        chain: its roots, the pinned one among them.
    """

    def __init__(self, place: str, reader: Reader, verified: Verified, chain: RootChain) -> None:
        self.place = place
        self.reader = reader
        self.verified = verified
        self.chain = chain

    def signed(self, kind: Kind, found: Metadata[Targets]) -> bool:
        """Whether a file is of a role, and signed by keys that had this role once."""
        if found.signed.type != _TYPES[kind]:
            return False
        if kind != "catalog":
            return self.chain.accept(kind, found)
        return any(accepts(judge, "catalog", found) for judge in self._delegations)

    @functools.cached_property
    def _delegations(self) -> list[Targets]:
        """Every targets role that there was and can be had."""
        found = []
        versions = self.verified.head.retained()["targets"]
        for version in _newest(versions):
            try:
                role = fetch_role(self.reader, f"{version}.targets.json").found
            except CnrMirrorError:
                continue
            if isinstance(role.signed, Targets) and self.chain.accept("targets", role):
                found.append(role.signed)
        return found


def compare_files(
    first: Witness, second: Witness, progress: Progress
) -> tuple[list[Contradiction], list[str]]:
    """Signed files of one version with two contents, and what could not be compared."""
    found: list[Contradiction] = []
    notes: list[str] = []
    for kind in _KINDS:
        versions = _common(first, second, kind)
        if len(versions) == 0:
            notes.append(f"no {kind} file is retained by both")
        said: list[str] = []
        pair = functools.partial(_pair, first, second, kind)
        with (
            threads(PARALLEL) as executor,
            stage(progress, f"Comparing {kind} files", len(versions)) as steps,
        ):
            for result in in_parallel(pair, versions, executor):
                if isinstance(result, Contradiction):
                    found.append(result)
                elif result:
                    said.append(result)
                steps.advance()
        notes += said[:_MOST_NOTES]
        if len(said) > _MOST_NOTES:
            notes.append(f"and {len(said) - _MOST_NOTES} {kind} files more were not compared")
    return found, notes


def two_files(
    what: Literal["root", "timestamp", "targets", "snapshot", "catalog"],
    first: Witness, second: Witness, one: SignedFile, two: SignedFile,
) -> Contradiction:  # fmt: skip
    """Two contents of one version."""
    reason = (
        f"{what} {one.version} is {one.signed_sha256} at {first.place}, but {two.signed_sha256} "
        f"at {second.place}"
    )
    return Contradiction(what, one.version, one.signed_sha256, two.signed_sha256, reason)


def _common(first: Witness, second: Witness, kind: Kind) -> range:
    """The newest versions that both say they retain."""
    one, two = (witness.verified.head.retained()[kind] for witness in (first, second))
    return _newest(range(max(one.start, two.start), min(one.stop, two.stop)))


def _newest(versions: range) -> range:
    return range(max(versions.start, versions.stop - _MOST), versions.stop)


def _pair(first: Witness, second: Witness, kind: Kind, version: int) -> Contradiction | str:
    """What is to be said of both files of a version: a contradiction, a note, or nothing."""
    name = f"{version}.{kind}.json"
    try:
        one, two = (fetch_role(witness.reader, name) for witness in (first, second))
    except CnrMirrorError as error:
        return f"{name} is not compared: {error.message}"
    if one.file.signed_sha256 == two.file.signed_sha256:
        return ""
    for witness, role in ((first, one), (second, two)):
        known = first.signed(kind, role.found) or second.signed(kind, role.found)
        if role.file.version != version or not known:
            return f"{name} at {witness.place} is not signed by who may sign it: not compared"
    return two_files(kind, first, second, one.file, two.file)
