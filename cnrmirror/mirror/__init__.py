"""A mirror project on disk: its layout, configuration, revisions, views.

May import what lies below. Entry points: ``project.Project``, ``config.load``, one module a verb
(``push``, ``change``, ``build``, ``check``, ``gc``, ``rotate``).
"""
