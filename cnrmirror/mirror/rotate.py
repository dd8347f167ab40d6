"""Other keys for a mirror: an online key replaced, roles renewed, a new root put into force."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from cnrmirror.mirror.home import online_keys
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import BadSignature, ConflictError, NotTrusted, UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.model.xdg import own_folder
from cnrmirror.trust.guard import Guard
from cnrmirror.trust.keys import PUBLISH, REFRESH, Given, KeyFolder, generate, write_key
from cnrmirror.trust.roles import to_bytes
from cnrmirror.trust.rotation import Proposal, Status, propose, sign, status
from cnrmirror.trust.signing import Repository
from cnrmirror.trust.tuf import Key, RepositoryError, Root
from cnrmirror.trust.witness import Witness


def repository(
    project: Project, online: Path | None, guard: Guard | None = None, given: Given = Given()
) -> Repository:
    """The project's signed metadata.

    Args:
        project: the mirror.
        online: the folder of its online keys, if this person has one; mirror.yaml names those that
            are elsewhere.
        guard: see ``Repository``.
        given: online keys that came another way.
    """
    trust = project.config.trust
    uris = {PUBLISH: trust.publish, REFRESH: trust.refresh}
    keys = KeyFolder(*([online] if online else []), uris=uris, given=given)
    return Repository(project.metadata.path, project.layout.making, keys, guard)


def own_repository(
    project: Project, clock: Callable[[], Instant] | None, tell: Callable[[str], None]
) -> Repository:
    """The project's signed metadata, with this person's online keys.

    Args:
        project: the mirror.
        clock: what no time to sign for may contradict; None: any time will do.
        tell: is told what is odd.
    """
    online = online_keys(project.config)
    guard = Guard(clock, _witness(project), tell)
    return repository(project, online.folder, guard, online.given)


def _witness(project: Project) -> Witness | None:
    """What was signed in this folder last; nobody remembers where a person has no home."""
    with contextlib.suppress(UsageError):
        name = hashlib.sha256(str(project.folder.resolve()).encode()).hexdigest()
        return Witness(own_folder("STATE") / "signed" / f"{name}.json", project.config.id)
    return None


# -- online keys -----------------------------------------------------------------------------------


class Rotation(msgspec.Struct, frozen=True):
    """An online key to be replaced.

    ``purpose``: publish or refresh. ``offline``: the keys that sign the change. ``public``: the
    key that takes its place; None makes a new one.
    """

    purpose: str
    offline: KeyFolder
    public: Key | None = None

    @property
    def role(self) -> str:
        """The role whose keys sign the change."""
        return "targets" if self.purpose == PUBLISH else "root"


class RotationPlan(msgspec.Struct, frozen=True):
    """What a rotation would do: which keys go, and which keys of which role sign that."""

    purpose: str
    going: list[str]
    role: str
    signers: list[str]


def plan_rotation(signed: Repository, rotation: Rotation) -> RotationPlan:
    """What a rotation would do; nothing is written.

    Raises:
        NotTrusted: not enough offline keys are there.
    """
    signers = [key.keyid for key in _require_offline(signed, rotation)]
    online = "catalog" if rotation.purpose == PUBLISH else "timestamp"
    going = [key.keyid for key in signed.keys_of(online)]
    return RotationPlan(rotation.purpose, going, rotation.role, signers)


def rotate_key(project: Project, signed: Repository, rotation: Rotation, now: str) -> Key:
    """Replace an online key, and sign everything below it anew.

    Args:
        project: the mirror.
        signed: its signed metadata.
        rotation: which key, and by what.
        now: ISO 8601, UTC.

    Returns:
        The key that signs from now on.

    Raises:
        NotTrusted: not enough offline keys are there, or nothing can sign with the new key.
    """
    _require_offline(signed, rotation)
    if rotation.purpose == PUBLISH:
        signed.require_refresh()
    new = rotation.public
    if new is None:
        made = generate()
        write_key(signed.keys.folder, rotation.purpose, made, None)
        new = made.public_key
    elif signed.keys.signer(rotation.purpose, [new]) is None:
        raise NotTrusted(
            f"nothing here can sign with {new.keyid}: put its signer URI into mirror.yaml "
            f"(trust.{rotation.purpose}) first"
        )
    if rotation.purpose == PUBLISH:
        with project.writing():
            signed.renew_targets(new, rotation.offline, now)
            signed.sign_revision(project.head(), now)
    else:
        old = signed.root().roles["timestamp"].keyids[0]
        proposal = propose(signed, {old: new}, None, now)
        sign(proposal, rotation.offline)
        install_root(project, signed, proposal, now)
    return new


def rotate_online(
    project: Project, signed: Repository, offline: KeyFolder, now: str
) -> dict[str, Key]:
    """Replace both online keys at once: neither can be replaced where the other one is lost, too.

    Args:
        project: the mirror.
        signed: its signed metadata.
        offline: the targets key, and enough root keys.
        now: ISO 8601, UTC.

    Returns:
        The new keys by their purposes.

    Raises:
        NotTrusted: not enough offline keys are there.
    """
    for purpose in (PUBLISH, REFRESH):
        _require_offline(signed, Rotation(purpose, offline))
    made = {purpose: generate() for purpose in (PUBLISH, REFRESH)}
    for purpose, key in made.items():
        write_key(signed.keys.folder, purpose, key, None)
    new: dict[str, Key] = {purpose: key.public_key for purpose, key in made.items()}
    with project.writing():
        signed.renew_targets(new[PUBLISH], offline, now)
    old = signed.root().roles["timestamp"].keyids[0]
    proposal = propose(signed, {old: new[REFRESH]}, None, now)
    sign(proposal, offline)
    install_root(project, signed, proposal, now)
    return new


def _require_offline(signed: Repository, rotation: Rotation) -> list[Key]:
    """The keys here that can sign. Raises NotTrusted if they are fewer than must."""
    role, offline = rotation.role, rotation.offline
    needed = 1 if role == "targets" else signed.root().roles[role].threshold
    able = [key for key in signed.keys_of(role) if offline.signer(role, [key])]
    if len(able) < needed:
        raise NotTrusted(
            f"{offline.places}: {len(able)} of the {needed} keys that must sign were found; "
            "if they are on several machines, use 'root propose', 'root sign', 'root publish'"
        )
    return able


def renew(project: Project, signed: Repository, offline: KeyFolder, now: str) -> bool:
    """Sign the targets role for another year; and the root, if enough of its keys are there.

    Returns:
        Whether the root was signed, too.

    Raises:
        NotTrusted: the targets key is not there, or an online key; nothing was written.
    """
    signed.check_keys(now)
    with project.writing():
        signed.renew_targets(None, offline, now)
        signed.sign_revision(project.head(), now)
    proposal = propose(signed, {}, None, now)
    sign(proposal, offline)
    if not status(proposal).complete:
        return False
    install_root(project, signed, proposal, now)
    return True


# -- a new root ------------------------------------------------------------------------------------


def install_root(project: Project, repository: Repository, proposal: Proposal, now: str) -> Status:
    """Make a proposed root the mirror's, and sign everything below it anew.

    Args:
        project: the mirror.
        repository: its signed metadata.
        proposal: the root, with its signatures.
        now: ISO 8601, UTC.

    Raises:
        ConflictError: the mirror has another root by now.
        BadSignature: not enough signatures.
        NotTrusted: what is below the root cannot be signed here; nothing was written.
    """
    with project.writing():
        _require_next(repository, proposal)
        result = status(proposal)
        _require_signed(proposal, result)
        targets = proposal.targets
        repository.require_keys(proposal.proposed.signed, targets.signed if targets else None)
        if targets is not None:
            repository.write_targets(to_bytes(targets), targets.signed.version)
        repository.write_root(to_bytes(proposal.proposed), result.version)
        repository.sign_revision(project.head(), now)
        return result


def _require_next(repository: Repository, proposal: Proposal) -> None:
    """Raises ConflictError if the root in force is not the one that the proposal follows."""
    current = repository.current(Root, "root")
    in_force = to_bytes(current) if current else b""
    again = in_force == to_bytes(proposal.proposed)  # a publish that was killed
    if not again and in_force != to_bytes(proposal.current):
        raise ConflictError("the mirror's root is not the one that this proposal follows")


def _require_signed(proposal: Proposal, found: Status) -> None:
    """Raises BadSignature if a proposal has not the signatures that it needs."""
    if not found.complete:
        raise BadSignature(
            f"not enough signatures: {found.old} of {found.old_threshold} by keys of the old root, "
            f"{found.new} of {found.new_threshold} by the new one"
            + ("" if found.targets_signed else ", and the new targets key has not signed")
        )
    try:
        proposal.current.signed.verify_delegate(
            "root", proposal.proposed.signed_bytes, proposal.proposed.signatures
        )
    except RepositoryError as error:
        raise BadSignature(str(error)) from error
