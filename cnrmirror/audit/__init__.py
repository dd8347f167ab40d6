"""What is wrong with a mirror elsewhere: its metadata, its catalog, its views.

May import what lies below. Entry points: ``run.audit``, ``compare.compare``,
``kept.read_report``.
"""
