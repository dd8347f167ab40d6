"""Work done by other processes: on this machine, or by the workers of a cluster.

May import ``model``. Entry points: ``crew.Crew``, ``crew.local``, ``crew.carried_out`` (what comes
of each unit of work) and ``crew.helped`` (the same for whoever can do without),
``cluster.cluster``, ``certificates.certificates``, ``processes.processes``.
"""
