"""Bytes by key: in a folder, in memory, in a bucket, behind HTTP.

May import ``model``. Entry points: ``base`` (the protocols ``Reader`` and ``Objects``), one module
an implementation (``folder``, ``memory``, ``s3``, ``http``; ``bucket`` reads), ``scheme`` (which
address means which), ``store`` (a catalog's blobs and nodes), ``sitetree`` (a folder of views),
``files`` (how to write).
"""
