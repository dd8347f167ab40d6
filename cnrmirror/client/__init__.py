"""From a reference to a verified archive on disk, out of a mirror elsewhere.

May import what lies below. Entry points: ``remote.Remote``, ``pull.pull``.
"""
