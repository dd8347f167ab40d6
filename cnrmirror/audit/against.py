"""Is a mirror the one that a kept report speaks of: the same, or a later state of one history?

The report is a stranger's until its digests are found in what the keys signed; what it says is only
ever compared, and leads nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from cnrmirror.audit.history import History
from cnrmirror.audit.report import Against, Audit, Contradiction
from cnrmirror.audit.state import AuditState
from cnrmirror.model.evidence import SignedFile
from cnrmirror.model.progress import stage
from cnrmirror.trust.chain import RootChain, read_chain
from cnrmirror.trust.memory import HighWater, renewal
from cnrmirror.trust.verify import Verified

Relation = Literal["same", "later", "untold", "contradiction"]


def check_against(state: AuditState) -> None:
    """The state of a mirror beside what a kept report says of it."""
    kept = state.kept
    if kept is None:
        return
    old = kept.report
    notes: list[str] = []
    found: list[Contradiction] = []
    relation: Relation = "untold"
    if old.registry and old.registry != state.registry:
        reason = f"the report is of registry {old.registry}, the mirror of {state.registry}"
        found.append(Contradiction("registry", -1, old.registry, state.registry, reason))
    else:
        if state.root_file is not None:
            chain = read_chain(state.reader, state.trust.pinned)
            found += [*_roots(chain, old, notes), *_timestamps(chain, old, state.timestamp, notes)]
        relation = _heads(state, old, found, notes)
    state.against = Against(
        kept.sha256, old.revision, old.catalog, "contradiction" if found else relation, found, notes
    )


def _roots(chain: RootChain, old: Audit, notes: list[str]) -> Iterator[Contradiction]:
    """The roots that the report names are those of this mirror's chain."""
    for file in dict.fromkeys(filter(None, (old.pinned, old.root))):
        here = chain.roots.get(file.version)
        if here is not None and here.file.signed_sha256 != file.signed_sha256:
            yield _two("root", file, here.file, "there are two roots of this version")
        elif file.version > chain.newest.file.version:
            yield _two("root", file, chain.newest.file, "the root went back")
        elif here is None:
            notes.append(f"root {file.version} cannot be compared: {'; '.join(chain.ended)}")


def _timestamps(
    chain: RootChain, old: Audit, now: SignedFile | None, notes: list[str]
) -> Iterator[Contradiction]:
    """The timestamp did not go back, unless a newer root names another key for it."""
    before = old.timestamp
    if before is None or now is None:
        return
    keys = sorted(chain.newest.found.signed.roles["timestamp"].keyids)
    newer_root = old.root is not None and chain.newest.file.version > old.root.version
    if newer_root and old.keys.timestamp != keys:
        notes.append("a newer root names another refresh key: timestamps begin anew")
    elif now.version < before.version:
        yield _two("timestamp", before, now, "the timestamp went back")
    elif now.version == before.version and now.signed_sha256 != before.signed_sha256:
        yield _two("timestamp", before, now, "there are two timestamps of this version")


def _heads(state: AuditState, old: Audit, found: list[Contradiction], notes: list[str]) -> Relation:
    """How the old head stands to the new one; what contradicts goes to ``found``."""
    verified, mark = state.verified, old.mark()
    if verified is None:
        notes.append("the mirror could not be verified now")
        return "untold"
    if mark is None:
        notes.append("the report is of a mirror that could not be verified: it has no revision")
        return "untold"
    new = verified.mark
    if new.root == mark.root and new.targets < mark.targets:
        reason = f"targets {mark.targets} were in force, now {new.targets} are"
        found.append(Contradiction("targets", mark.targets, "", "", reason))
    return _revisions(state, mark, verified, found, notes)


def _revisions(
    state: AuditState, mark: HighWater, verified: Verified, found: list[Contradiction],
    notes: list[str],
) -> Relation:  # fmt: skip
    """Whether the old revision is this one, or in its history; what contradicts goes to ``found``.

    After a newer root with another publish key numbers prove nothing; being in the history does.
    """
    history = History(state.reader, verified)
    here = verified.root.revision
    with stage(state.progress, "Looking for the old revision", None):
        reached = history.to(mark.revision)
    if reached and history.revision == mark.revision and history.at.digest == mark.digest:
        return "same" if mark.revision == here else "later"
    if renewal(mark, verified.mark).catalog:
        notes.append("a newer root names another publish key: revisions begin anew")
    elif not reached:
        notes.append(
            f"whether revision {mark.revision} came before cannot be told: {history.ended}"
        )
        state.seen.findings += [history.finding] if history.finding else []
    elif here < mark.revision:
        reason = f"the report is of revision {mark.revision}, the mirror has {here}: it went back"
        found.append(_revision(mark, verified.at.digest, reason))
    elif history.revision == mark.revision:
        reason = f"revision {mark.revision} was {mark.digest}, and is {history.at.digest} now"
        found.append(_revision(mark, history.at.digest, reason))
    else:
        reason = (
            f"revision {mark.revision}, {mark.digest}, is not in the history: revision "
            f"{history.above} goes back to {history.revision}"
        )
        found.append(_revision(mark, "", reason))
    return "untold"


def _revision(mark: HighWater, second: str, reason: str) -> Contradiction:
    return Contradiction("revision", mark.revision, mark.digest, second, reason)


def _two(
    what: Literal["root", "timestamp"], old: SignedFile, new: SignedFile, why: str
) -> Contradiction:
    reason = (
        f"{what} {old.version} was {old.signed_sha256}, now {what} {new.version} is "
        f"{new.signed_sha256}: {why}"
    )
    return Contradiction(what, old.version, old.signed_sha256, new.signed_sha256, reason)
