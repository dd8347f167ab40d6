"""Every metadata file of a mirror by itself: which one is missing, altered, or not in its one form.

``verify`` says whether a mirror can be used; this says which file is at fault. It follows the same
chain, goes on after a fault as far as it can, and also reads what no client needs any more but the
timestamp says is kept: superseded catalogs and snapshots, old roots and targets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import RetentionFloor
from cnrmirror.model.errors import CnrMirrorError, IncompleteError
from cnrmirror.model.finding import Finding, Problem, problem_of
from cnrmirror.model.signed import MAX_BYTES, METADATA, RETENTION, TARGET, retained_versions
from cnrmirror.objects.base import Reader, read
from cnrmirror.trust.chain import accepts
from cnrmirror.trust.roles import parse, to_bytes
from cnrmirror.trust.tuf import (
    Metadata,
    MetaFile,
    RepositoryError,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)

_MANY = 100_000


class StrictMetadata:
    """Reads all of a mirror's metadata; findings and the paths that were expected are kept.

    ``count`` is how many files were read.

    Args:
        reader: reads the mirror.
        pinned: the root that is trusted.
    """

    def __init__(self, reader: Reader, pinned: bytes) -> None:
        self._reader = reader
        self._pinned = pinned
        self.findings: list[Finding] = []
        self.expected: set[str] = set()
        self.count = 0
        self.kept = RetentionFloor()
        self.target: Descriptor | None = None
        self.expired: list[tuple[str, str]] = []
        self._judges: list[Root] = []
        self._delegations: list[Targets] = []
        self._now = datetime.min.replace(tzinfo=UTC)

    def check(self, now: datetime) -> None:
        """Read and check everything; nothing is raised for what the mirror does wrong.

        ``expired`` then has the files of the roles in force that are not good any more at ``now``.
        """
        roots = self._roots()
        newest = roots[-1].signed
        self._now = now
        self._age(f"{newest.version}.root.json", newest)
        timestamp = self._role("timestamp.json", Timestamp, [newest], "timestamp")
        if timestamp is None:
            return
        self._age("timestamp.json", timestamp.signed)
        try:
            kept: Any = timestamp.signed.unrecognized_fields.get(RETENTION)
            self.kept = typed.convert(kept, RetentionFloor)
        except msgspec.ValidationError as error:
            self._find("timestamp.json", "wrong", f"{RETENTION}: {error}")
            return
        if self.kept.root > newest.version:
            reason = f"the timestamp says that roots up to {self.kept.root} exist"
            self._find(f"{newest.version + 1}.root.json", "missing", reason)
        signed_roots = self._judges = [item.signed for item in roots]
        info = timestamp.signed.snapshot_meta
        snapshot = self._role(
            f"{info.version}.snapshot.json", Snapshot, signed_roots[-1:], "snapshot", info
        )
        meta = snapshot.signed.meta if snapshot else {}
        current = {name.removesuffix(".json"): below.version for name, below in meta.items()}
        retained = retained_versions(self.kept, {**current, "snapshot": info.version})
        for version in self._span("snapshot", retained["snapshot"]):
            if version != info.version:
                self._role(f"{version}.snapshot.json", Snapshot, signed_roots, "snapshot")
        if snapshot is not None:
            self._age(f"{info.version}.snapshot.json", snapshot.signed)
            self._targets(signed_roots, snapshot.signed, retained)

    def vouches_for(self, path: str) -> bool:
        """Whether a file of which nothing speaks is signed by a key that was the mirror's once.

        Args:
            path: ``catalog/metadata/N.ROLE.json``: a targets, catalog or snapshot role.
        """
        role = path.rpartition("/")[2].split(".")[-2]
        judges: dict[str, list[Any]] = {
            "targets": self._judges, "snapshot": self._judges, "catalog": self._delegations,
        }  # fmt: skip
        try:
            found = parse(read(self._reader.fetch(path, MAX_BYTES)), path)
        except CnrMirrorError:
            return False
        return any(accepts(judge, role, found) for judge in judges.get(role, []))

    def _roots(self) -> list[Metadata[Root]]:
        pinned: Metadata[Root] = parse(self._pinned, "the pinned root")
        found = [pinned]
        later: Metadata[Any] = pinned
        for version in range(pinned.signed.version - 1, 0, -1):
            # Only a root that vouches for the next one is of this registry.
            old = self._role(f"{version}.root.json", Root, None, "root")
            if old is None:
                break
            name = f"{version}.root.json"
            if not self._signed(name, old, [old.signed], "root"):
                break
            try:
                old.signed.verify_delegate("root", later.signed_bytes, later.signatures)
            except (RepositoryError, ValueError):
                self._find(name, "wrong", f"it does not vouch for root {version + 1}")
                break
            later = old
        name = f"{pinned.signed.version}.root.json"
        data = self._read(name)
        if data is not None and data != self._pinned:
            self._find(name, "wrong", "not the root that is pinned")
        while True:
            version = found[-1].signed.version + 1
            path = f"{version}.root.json"
            data = self._read(path, optional=True)
            if data is None:
                return found
            following = self._parsed(path, data, Root)
            if following is None or following.signed.version != version:
                if following is not None:
                    self._find(path, "wrong", "its version is another")
                return found
            both = [found[-1].signed, following.signed]
            if not all(self._signed(path, following, [judge], "root", both) for judge in both):
                return found
            found.append(following)

    def _targets(self, roots: list[Root], snapshot: Snapshot, retained: dict[str, range]) -> None:
        judges = self._delegations
        info = snapshot.meta.get("targets.json")
        for version in self._span("targets", retained["targets"]):
            current = info is not None and version == info.version
            found = self._role(
                f"{version}.targets.json", Targets, roots[-1:] if current else roots, "targets",
                info if current else None,
            )  # fmt: skip
            if found is not None:
                judges.append(found.signed)
                if current:
                    self._age(f"{version}.targets.json", found.signed)
        info = snapshot.meta.get("catalog.json")
        if info is None or not judges:
            return
        for version in self._span("catalog", retained["catalog"]):
            if version != info.version:
                self._role(f"{version}.catalog.json", Targets, judges, "catalog")
        catalog = self._role(f"{info.version}.catalog.json", Targets, judges[-1:], "catalog", info)
        if catalog is not None:
            self._age(f"{info.version}.catalog.json", catalog.signed)
        if catalog is not None and TARGET in catalog.signed.targets:
            target = catalog.signed.targets[TARGET]
            self.target = Descriptor(target.hashes.get("sha256", ""), target.length)

    def _span(self, role: str, versions: range) -> range:
        """The versions, or, if they are absurdly many, the last ten."""
        count = versions.stop - versions.start  # may be more than len() can say
        if count <= _MANY:
            return versions
        self._find(f"{versions[-1]}.{role}.json", "wrong", f"{count} versions: not all read")
        return versions[-10:]

    def _role(
        self,
        name: str,
        kind: type[Any],
        judges: Any,
        role: str,
        info: MetaFile | None = None,
    ) -> Metadata[Any] | None:
        """One role's file: there, as named from above, in its one form, signed."""
        data = self._read(name)
        if data is None:
            return None
        if info is not None:
            try:
                info.verify_length_and_hashes(data)
            except RepositoryError as error:
                self._find(name, "wrong", str(error))
                return None
        found = self._parsed(name, data, kind)
        if found is None:
            return None
        number = name.partition(".")[0]
        if number.isdigit() and found.signed.version != int(number):
            self._find(name, "wrong", "its version is another")
            return None
        if judges is not None and not self._signed(name, found, judges, role):
            return None
        return found

    def _parsed(self, name: str, data: bytes, kind: type[Any]) -> Metadata[Any] | None:
        try:
            found = parse(data, name)
        except CnrMirrorError as error:
            self._find(name, "wrong", error.message)
            return None
        if not isinstance(found.signed, kind):
            self._find(name, "wrong", "of another role")
            return None
        # The hex digits of a signature have two forms, too.
        signatures = [item.signature for item in found.signatures.values()]
        if to_bytes(found) != data or not all(
            isinstance(text, str) and text == text.lower() for text in signatures
        ):
            self._find(name, "wrong", "the same document in another form")
            return None
        return found

    def _signed(
        self, name: str, found: Metadata[Any], judges: Any, role: str, all_judges: Any = None
    ) -> bool:
        """Whether one of the judges accepts it; and every signature must be good, and needed."""
        reason = "signed by nobody who may"
        for judge in judges:
            try:
                judge.verify_delegate(role, found.signed_bytes, found.signatures)
            except (RepositoryError, ValueError) as error:
                reason = str(error)
                continue
            good: set[str] = set()
            for other in all_judges or [judge]:
                good |= set(
                    other.get_verification_result(role, found.signed_bytes, found.signatures).signed
                )
            if set(found.signatures) <= good:
                return True
            reason = "it carries signatures that do not count"
        self._find(name, "wrong", reason)
        return False

    def _read(self, name: str, optional: bool = False) -> bytes | None:
        path = f"{METADATA}/{name}"
        try:
            data = read(self._reader.fetch(path, MAX_BYTES))
        except CnrMirrorError as error:
            if optional and isinstance(error, IncompleteError):
                return None
            self.expected.add(path)
            self._find(name, problem_of(error), error.message)
            return None
        self.expected.add(path)
        self.count += 1
        return data

    def _age(self, name: str, signed: Signed) -> None:
        if signed.is_expired(self._now):
            self.expired.append((f"{METADATA}/{name}", signed.expires.isoformat()))

    def _find(self, name: str, problem: Problem, reason: str) -> None:
        self.findings.append(Finding(f"{METADATA}/{name}", problem, reason))
