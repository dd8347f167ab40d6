"""Every file of a site that is not the catalog: a pure function of documents and facts.

May import ``model``, ``objects``, ``archive``, ``catalog``. Entry points: ``base.View``,
``site.Site`` (all views of a mirror in the form of one kind of host), one module a view.
"""
