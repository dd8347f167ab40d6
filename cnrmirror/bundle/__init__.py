"""A catalog's files in tar volumes, to be carried.

May import ``model`` and ``objects``. Entry points: ``format`` (what a bundle is, and writing one),
``read.BundleReader``, ``overlay.Overlay`` (a bundle over what is here already).
"""
