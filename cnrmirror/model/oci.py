"""Words of the OCI image and distribution specifications, and of what Helm makes of them."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
PGP_SIGNATURE = "application/pgp-signature"
MAX_PROVENANCE = 1 << 20
"""Bytes of a chart's ``.prov`` file."""

ROLE = "cnrmirror.role"
"""An attachment's annotation: what it is to the release's OCI manifest.

``manifest``: the upstream's own manifest, verbatim. ``referrer``: a manifest whose subject is
another one, in ``SUBJECT``. ``tag``: a manifest under a tag that is no release, in ``TAG``.
``blob``: what one of these names. ``repacked``: the archive for Helm, where the release's own has
its files at the root.
"""
SUBJECT = "cnrmirror.subject"
TAG = "cnrmirror.tag"
