"""Every file of a site that is not the catalog: a pure function of documents and facts.

May import what lies below. Entry points: ``base.View``, ``site.Site`` (all views of a mirror in the
form of one kind of host), ``site.VIEWS``, one module a view (``cnr_v1``, ``front``), ``routes``
(which file answers an address), ``layout`` (a site's files as a destination needs them), ``hosts``.
"""
