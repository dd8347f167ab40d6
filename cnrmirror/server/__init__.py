"""The registry's API over HTTP, read-only or taking pushes.

May import what lies below. Entry points: ``create_app`` (WSGI), ``app.Application``,
``writing.Writing``, ``bundle.BundleMirror``, ``listen.Server`` (HTTP).
"""

from cnrmirror.server.wsgi import create_app

__all__ = ["create_app"]
