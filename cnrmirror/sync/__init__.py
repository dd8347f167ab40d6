"""Bring what sources have into the mirror: look, decide, bring, apply; one run is one revision.

May import what lies below. Entry points: ``run.sync``, ``open.open_sources``,
``memory.last_reports``. Pure: ``plan.plan`` (a ``Situation`` → a ``Plan``), ``merge.merged`` (one
package and one source's ``Part`` of it → the package), ``why.Why`` (reasons).
"""
