"""Keys, signatures, verification from a pinned root, and what must not be forgotten of it.

May import ``model`` and ``objects``. Entry points: ``verify.Trust``, ``signing.Repository``,
``rotation`` (a new root), ``succession`` (roots and targets that follow our own),
``memory.TrustMemory``, ``lint.StrictMetadata`` (every signed file by itself).
"""
