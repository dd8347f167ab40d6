"""A mirror project on disk: its layout, configuration, revisions, views.

May import what lies below. Entry points: ``project.Project``, ``layout.Layout``, ``config.load``,
one module a verb (``create``, ``push``, ``change``, ``build``, ``check``, ``gc``, ``rotate``).
"""
