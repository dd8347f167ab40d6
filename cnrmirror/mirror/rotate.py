"""Put a proposed root into force in a mirror, and sign everything below it anew."""

from __future__ import annotations

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Root

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import BadSignature, ConflictError
from cnrmirror.trust.rotation import Proposal, Status, status
from cnrmirror.trust.signing import Repository, to_bytes


def install_root(project: Project, repository: Repository, proposal: Proposal, now: str) -> Status:
    """Make a proposed root the mirror's, and sign everything below it anew.

    Raises:
        ConflictError: the mirror has another root by now.
        BadSignature: not enough signatures.
    """
    with project.writing():
        current = repository.current(Root, "root")
        now_there = to_bytes(current) if current else b""
        again = now_there == to_bytes(proposal.proposed)  # a publish that was killed
        if not again and now_there != to_bytes(proposal.current):
            raise ConflictError("the mirror's root is not the one that this proposal follows")
        result = status(proposal)
        if not result.complete:
            raise BadSignature(
                f"not signed enough: {result.old} of {result.old_threshold} by the old root, "
                f"{result.new} of {result.new_threshold} by the new one"
                + ("" if result.targets_signed else ", and the new targets key is missing")
            )
        try:
            proposal.current.signed.verify_delegate(
                "root", proposal.proposed.signed_bytes, proposal.proposed.signatures
            )
        except RepositoryError as error:
            raise BadSignature(str(error)) from error
        targets = proposal.targets
        repository.require_keys(proposal.proposed.signed, targets.signed if targets else None)
        if targets is not None:
            repository.write_targets(to_bytes(targets), targets.signed.version)
        repository.write_root(to_bytes(proposal.proposed), result.version)
        repository.sign_revision(project.head(), now)
        return result
