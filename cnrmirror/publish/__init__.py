"""Bring a destination from the revision that it stands at to the mirror's own.

May import what lies below. Entry points: ``session.Session``, ``open.find_destinations``.
"""
