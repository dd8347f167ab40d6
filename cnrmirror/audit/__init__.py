"""What is wrong with a mirror elsewhere: its metadata, its catalog, its views.

May import what lies below. Entry point: ``run.Auditor``.
"""
