"""What OCI clients want beside the bytes: headers, and errors in the form of their specification.

Source: distribution-spec 1.1, "Pulling manifests" and "Error Codes".
"""

from __future__ import annotations

from werkzeug.wrappers import Response

from cnrmirror.views.oci_paths import TOP, folder_of
from cnrmirror.views.ocimanifest import error

_UNKNOWN = {"blobs": "BLOB_UNKNOWN", "tags": "NAME_UNKNOWN"}
_CODES = {400: "UNSUPPORTED", 401: "UNAUTHORIZED", 405: "UNSUPPORTED", 416: "SIZE_INVALID"}


def is_registry(path: str) -> bool:
    """Whether the path of a request is one of an OCI registry."""
    return path == f"/{TOP}" or path.startswith(f"/{TOP}/")


def completed(response: Response, path: str) -> Response:
    """The answer as OCI clients know it; errors get the form that they read.

    Args:
        path: that of the request.
    """
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    if response.status_code >= 400:
        known = _UNKNOWN.get(folder_of(path), "MANIFEST_UNKNOWN")
        code = known if response.status_code == 404 else _CODES.get(response.status_code, "UNKNOWN")
        message = response.json.get("message", "") if isinstance(response.json, dict) else ""
        response.set_data(error(code, message))
    return response
