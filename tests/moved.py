"""``python -m tests.moved SECONDS …``: the command line, on a machine whose clock is off."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

import time_machine

from cnrmirror.cli import main

if __name__ == "__main__":
    moved = timedelta(seconds=float(sys.argv.pop(1)))
    time_machine.travel(datetime.now(UTC) + moved).start()
    main()
