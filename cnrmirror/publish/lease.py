"""Whose turn it is to write to a destination.

One object there, ``.cnrmirror/state.json``, is replaced by compare-and-swap only, and never twice
by the same bytes: its serial rises with every change. It carries the lease. A lease belongs to one
run, not to a mirror, so copies of one folder are several publishers. Who has it writes; who loses
it looks again.

A run leaves in it between which revisions the destination's views stand meanwhile, so that whoever
comes after a run that was killed knows which files may be of which revision.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.destination import DestinationState, Holder, Lease
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import CnrMirrorError, InvalidDocument, Outdated
from cnrmirror.model.format import FIRST, Format, require_writable
from cnrmirror.objects.base import STATE, Objects

STATE_BYTES = 64 << 20
STALE = timedelta(minutes=15)
RENEW_SECONDS = 60
# The runs of this process that hold a lease, or may.
_ACTIVE: set[str] = set()


def read_state(destination: Objects) -> tuple[DestinationState, str | None]:
    """The state and its tag. Raises InvalidDocument, NewerFormat."""
    found = destination.read(STATE, STATE_BYTES)
    if found is None:
        return DestinationState(), None
    where = f"{destination.name}/{STATE}"
    try:
        require_writable(typed.decode(found[0], _Versions).format, where)
        return typed.decode(found[0], DestinationState), found[1]
    except msgspec.DecodeError as error:
        raise InvalidDocument(f"{where}: not written by cnrmirror: {error}") from error


class _Versions(msgspec.Struct, frozen=True):
    format: Format = FIRST


def is_over(lease: Lease, now: datetime) -> bool:
    """Whether a lease can be taken: given back, its holder dead, or silent for a quarter hour."""
    return not lease.run or is_dead(lease) or now - moment(lease.time) > STALE


def is_dead(lease: Lease) -> bool:
    """Whether the run that holds a lease is known to have ended.

    Only a holder of this machine and pid namespace can be known to be dead.
    """
    holder, here = lease.holder, this_process()
    if not holder.boot or (holder.boot, holder.namespace) != (here.boot, here.namespace):
        return False
    if (holder.pid, holder.started) == (here.pid, here.started):
        return lease.run not in _ACTIVE
    return _started(holder.pid) != holder.started


def this_process() -> Holder:
    """This process; nothing but its pid where the system does not tell more (no /proc)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return Holder(pid=os.getpid())
    return Holder(boot, namespace, os.getpid(), _started(os.getpid()))


def _started(pid: int) -> str:
    """Field 22 of proc(5)'s stat; "" if there is no such process, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def moment(text: str) -> datetime:
    """A time as the registry writes it, as a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class LeaseLost(CnrMirrorError):
    """Somebody else took the lease, or wrote meanwhile: look again."""


class HeldLease:
    """One run's hold on a destination: ``with HeldLease(…) as lease``.

    Entering takes it by compare-and-swap of the state that was looked at; leaving gives it back. A
    run that fails leaves its ``states`` to whoever comes next.

    Args:
        destination: where.
        state: the state that was looked at.
        tag: the state's tag; None if there was none.
        states: the revisions between which the views stand already.
        to: the revision that they are brought to.
        now: the time, as the registry writes it.

    Raises:
        LeaseLost: somebody else was faster.
    """

    def __init__(
        self, destination: Objects, state: DestinationState, tag: str | None,
        states: Sequence[Descriptor | None], to: Descriptor, now: str,
    ) -> None:  # fmt: skip
        self._destination = destination
        self._state = state
        self._tag = tag
        self._run = uuid.uuid4().hex
        self._began = _seconds()
        self._said = 0.0
        self._began_at = moment(now)
        self._lease = Lease(self._run, this_process(), now, list(states), to)
        self._after: DestinationState | None = None
        self.taken = False

    def __enter__(self) -> HeldLease:
        _ACTIVE.add(self._run)
        try:
            self._swap(lease=self._lease)
        except BaseException:
            _ACTIVE.discard(self._run)
            raise
        self.taken = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        _ACTIVE.discard(self._run)
        if error is None:
            after = self._after
            assert after is not None, "nobody said how the destination is left"
            self._swap(lease=None, form=after.form, pending=after.pending, sweep=after.sweep)
        elif isinstance(error, Exception | KeyboardInterrupt | SystemExit):
            try:
                self._swap(lease=msgspec.structs.replace(self._lease, run=""))
            except CnrMirrorError as second:
                # Whoever comes next takes it when this process has ended.
                error.add_note(f"the lease could not be given back: {second.message}")

    def renew(self, after_seconds: float = RENEW_SECONDS) -> None:
        """Say that the run is still there, if it has not said so for so many seconds.

        Raises:
            LeaseLost: somebody else took over.
        """
        now = _seconds()
        if now - self._said >= after_seconds:
            at = self._began_at + timedelta(seconds=now - self._began)
            time = at.replace(tzinfo=None).isoformat()
            self._lease = msgspec.structs.replace(self._lease, time=time)
            self._swap(lease=self._lease)

    def unform(self) -> None:
        """Say from now on that nothing is known of the views' form."""
        self._state = msgspec.structs.replace(self._state, form="")
        self.renew(0)

    def leave(self, form: str, pending: dict[str, str], sweep: str) -> None:
        """Say how the destination is left when all is done."""
        self._after = DestinationState(form=form, pending=pending, sweep=sweep)

    def _swap(self, **changes: object) -> None:
        serial = self._state.serial + 1
        state = msgspec.structs.replace(self._state, serial=serial, **changes)
        try:
            self._tag = self._destination.swap(STATE, msgspec.json.encode(state), self._tag)
        except Outdated as error:
            raise LeaseLost(f"{self._destination.name}: somebody else publishes there") from error
        self._state = state
        self._said = _seconds()


def leave_word(
    destination: Objects, states: Sequence[Descriptor | None], to: Descriptor, now: str
) -> bool:
    """Note that views of these revisions may be there, for whoever comes next.

    A run that lost its lease, and cannot take it again, does that before it ends.

    Returns:
        False if somebody has the lease, or was faster: then it is to be tried again.
    """
    state, tag = read_state(destination)
    lease = state.lease
    if lease is not None and not is_over(lease, moment(now)):
        return False
    known = [*states, *([*lease.states, lease.to] if lease else [])]
    word = Lease("", Holder(), now, known, to)
    state = msgspec.structs.replace(state, serial=state.serial + 1, lease=word)
    try:
        destination.swap(STATE, msgspec.json.encode(state), tag)
    except Outdated:
        return False
    return True


def _seconds() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
