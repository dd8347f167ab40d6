"""Package archives: scanned, inspected, packed, identified, extracted.

May import ``model`` and ``objects``. Entry points: ``inspect.ArchiveReader``, ``pack.pack``,
``identify.identify``, ``extract.extract``.
"""
