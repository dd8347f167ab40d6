"""Bring a destination from the revision that it stands at to the mirror's own.

May import what lies below. Entry points: ``session.Session`` (one publish from beginning to end),
``open.find_destinations``. In order: ``look`` (what is there), ``roles`` (newer roots and targets),
``merge`` (join what others published), ``work`` and ``diff`` (what differs, pure), ``lease`` (whose
turn it is), ``engine`` (write it; ``couriers`` has archives sent by others, in ``parcel``s),
``audit``; ``plan`` is what can be saved and shown of it.
"""
