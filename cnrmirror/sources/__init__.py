"""Where packages come from: one module a kind of source.

May import what lies below. Entry points: ``base`` (``Kind``, ``Source``, ``Offer``, ``Listing``),
``kinds.KINDS``, ``filters.Filter``.
"""
