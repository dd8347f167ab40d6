"""Pure values: names, digests, documents, signed heads, errors. No I/O.

May import nothing of the program but itself. Begin with ``documents`` (what a catalog holds),
``canonical`` (how it becomes bytes) and ``errors`` (what may go wrong, by exit code).
"""
