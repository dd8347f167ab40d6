"""Bring what sources have into the mirror: look, plan, fetch, merge; one run is one revision.

May import what lies below. Entry points: ``run.sync``, ``open.open_sources``.
"""
