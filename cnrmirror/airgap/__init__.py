"""Mirrors carried where no network goes: export, have, import.

May import what lies below, ``sync`` and ``publish`` included. Entry points: ``export`` (a bundle,
written), ``have`` (what a receiver states), ``follow`` and ``take`` (a bundle, taken in whole or
beside our own packages; ``arrive`` is what both do first).
"""
