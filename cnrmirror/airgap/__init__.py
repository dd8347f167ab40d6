"""Mirrors carried where no network goes: export, have, import.

May import what lies below, ``sync`` included. Entry points: ``export``, ``follow`` and ``take``
(import), ``have``.
"""
