"""The Merkle tree of package documents, and what lies between two of its revisions.

May import ``model`` and ``objects``. Entry points: ``tree.CatalogReader``, ``tree.Catalog``,
``nodes`` (where documents are read from), ``delta`` (what to send or bring), ``changes`` (what
changed in a package), ``facts`` (facts beside documents), ``metadata`` (the signed files).
"""
