"""Work done by other processes: on this machine, or by the workers of a cluster.

May import ``model``. Entry points: ``crew.Crew``, ``crew.local`` and ``crew.carried_out`` (what
comes of each unit of work), ``cluster.cluster``, ``certificates.certificates``,
``processes.processes``.
"""
