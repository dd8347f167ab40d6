"""Where packages come from: one module a kind of source.

May import what lies below. Entry points: ``base`` (``Source``, ``Ask``, ``Offer``, ``Listing``,
``Hole``), ``kind`` (``Kind``, ``SourceRules``, ``SourceRoom``), ``kinds.KINDS``,
``filters.Filter``. Kinds: ``registry``, ``helm``, ``oci``, ``mirror``, ``charts``, ``keyvalue``,
``backup``.
"""
