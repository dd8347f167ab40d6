"""Bytes by key: in a folder, in memory, in a bucket, behind HTTP.

May import ``model``. Entry points: ``base`` (the protocols ``Reader`` and ``Objects``), one module
an implementation (``folder``, ``memory``, ``bucket``, ``s3``, ``http``), ``scheme`` (addresses),
``store`` (a catalog's blobs and nodes), ``sitetree`` (a folder of views), ``files`` (how to write).
"""
