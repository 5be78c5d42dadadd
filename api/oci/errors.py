"""Errors as the OCI distribution specification writes them."""

from collections.abc import Iterable
from typing import Any

from api.oci.replies import Header, Reply, json_reply
from fleetwide.errors import (
    Conflict,
    Denied,
    FleetwideError,
    InvalidInput,
    NotFound,
    PlatformError,
    RegistryUnavailable,
)
from fleetwide.store.registry_manifests import ReferencesUnknown

RETRY_SECONDS = 5
MAX_DETAILS = 100
_CODES: dict[type[FleetwideError], tuple[int, str]] = {
    Denied: (403, "DENIED"),
    NotFound: (404, "NAME_UNKNOWN"),
    Conflict: (409, "DENIED"),
    InvalidInput: (400, "UNSUPPORTED"),
}


class OciError(Exception):
    """An answer other than success: an HTTP status and one of the specification's codes."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: Any = None,
        headers: Iterable[Header] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = tuple(headers)

    def reply(self) -> Reply:
        error = {"code": self.code, "message": self.message}
        if self.detail is not None:
            error["detail"] = self.detail
        return json_reply(self.status, {"errors": [error]}, self.headers)


def name_invalid(message: str) -> OciError:
    return OciError(400, "NAME_INVALID", message)


def name_unknown(repository: str) -> OciError:
    return OciError(404, "NAME_UNKNOWN", f"there is no repository {repository}")


def manifest_unknown(repository: str, reference: str) -> OciError:
    detail = {"name": repository, "reference": reference}
    return OciError(404, "MANIFEST_UNKNOWN", f"{repository} has no {reference}", detail=detail)


def blob_unknown(repository: str, digest: str) -> OciError:
    message = f"{repository} has no blob {digest}"
    return OciError(404, "BLOB_UNKNOWN", message, detail={"digest": digest})


def upload_unknown() -> OciError:
    return OciError(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")


def digest_invalid(text: str) -> OciError:
    if text.startswith(("sha512:", "sha384:")):
        return OciError(400, "UNSUPPORTED", "digests are sha256 here; others are not supported")
    return OciError(400, "DIGEST_INVALID", "a digest is sha256: and 64 hexadecimal digits")


def denied(message: str, detail: Any = None) -> OciError:
    return OciError(403, "DENIED", message, detail=detail)


def unavailable(what: str) -> OciError:
    """Something below does not answer; the same request may succeed a little later."""
    return unusable(f"{what} does not answer")


def unusable(message: str) -> OciError:
    """Something of the registry's own is wrong; the same request may succeed a little later."""
    retry = (b"retry-after", str(RETRY_SECONDS).encode())
    return OciError(503, "UNAVAILABLE", message, headers=[retry])


def fault_reply(fault: FleetwideError) -> OciError:
    """What the specification calls an error of Fleetwide's own."""
    if isinstance(fault, ReferencesUnknown):
        detail = [{"digest": digest} for digest in fault.digests[:MAX_DETAILS]]
        return OciError(400, "MANIFEST_BLOB_UNKNOWN", fault.message, detail=detail)
    if isinstance(fault, PlatformError):
        below = "the blob store" if isinstance(fault, RegistryUnavailable) else "the index"
        return unavailable(below)
    for kind, (status, code) in _CODES.items():
        if isinstance(fault, kind):
            return OciError(status, code, fault.message)
    return OciError(500, "UNKNOWN", "something broke inside")
