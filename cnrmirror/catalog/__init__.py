"""The Merkle tree of package documents, and what lies between two of its revisions.

May import ``model`` and ``objects``. Entry points: ``tree.CatalogReader``, ``tree.Catalog``,
``nodes`` (where documents are read from), ``delta`` (what to bring), ``metadata`` (signed files).
"""
