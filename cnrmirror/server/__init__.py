"""The registry's API over HTTP, read-only or taking pushes.

May import what lies below. Entry points: ``app.Application``, ``writing.Writing``,
``bundle.BundleMirror``.
"""
