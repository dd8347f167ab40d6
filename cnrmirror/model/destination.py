"""What a destination remembers besides the catalog: whose turn it is, and what is still to go."""

from __future__ import annotations

import msgspec

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.format import FIRST, Format


class Holder(msgspec.Struct, frozen=True):
    """A process: enough to tell, on its own machine, whether it still runs.

    ``boot``: the machine's boot id; ``namespace``: the pid namespace; ``started``: when the process
    began, in ticks since the boot. All are "" where the system does not tell them.
    """

    boot: str = ""
    namespace: str = ""
    pid: int = 0
    started: str = ""


class Lease(msgspec.Struct, frozen=True):
    """A run that writes, or did not come to its end; ``run`` is "" when it gave the lease back.

    ``states``: the revisions between which the views stand (None: no views); ``to``: the revision
    that they are brought to. ``time``: when the run last said that it is still there.
    """

    run: str
    holder: Holder
    time: str
    states: list[Descriptor | None]
    to: Descriptor


class DestinationState(msgspec.Struct, frozen=True):
    """What a destination remembers besides the catalog.

    ``form``: the form of its views; ``pending``: removals, and when they are due; ``sweep``: when
    what only a former form had may go, or "".
    """

    format: Format = FIRST
    serial: int = 0
    form: str = ""
    lease: Lease | None = None
    pending: dict[str, str] = {}
    sweep: str = ""
