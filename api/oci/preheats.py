"""The key by which hosts of one pre-heat give each other its image, told to them alone."""

from datetime import datetime

from sqlmodel import Session

from api.oci.auth import Authority
from api.oci.errors import OciError, denied
from api.oci.gateway import Gateway, utc_now
from api.oci.replies import Reply, json_reply
from api.oci.requests import Request
from fleetwide.models.registry_access import HOST_PREFIX
from fleetwide.registry.names import is_digest
from fleetwide.registry.sharing import KEY_SECONDS, Together, share_secret
from fleetwide.store import registry_preheats

_PRIVATE = (b"cache-control", b"no-store")


async def share_key(gateway: Gateway, authority: Authority, request: Request) -> Reply:
    """``GET /v2/REPOSITORY/_preheat/DIGEST?workflow=ID`` of a host that takes part.

    Raises:
        OciError: 403 the host takes no part, 404 hosts have no accounts here, 405, 503.
    """
    if not authority.enabled:
        raise OciError(404, "UNSUPPORTED", "without accounts there is no knowing who takes part")
    if request.method != "GET":
        raise OciError(405, "UNSUPPORTED", "this can only be read", headers=[(b"allow", b"GET")])
    if not is_digest(request.reference):
        raise OciError(400, "DIGEST_INVALID", "a pre-heat is of a digest")
    together = Together(request.parameter("workflow") or "", request.repository, request.reference)
    until, now = await _until(gateway, request.by, together), utc_now()
    secret = share_secret(authority.keys(), together, until)
    seconds = min(KEY_SECONDS, max(0, int((until - now).total_seconds())))
    return json_reply(200, {"key": secret.hex(), "expires_in": seconds}, [_PRIVATE])


async def _until(gateway: Gateway, account: str, together: Together) -> datetime:
    host_id = account.removeprefix(HOST_PREFIX)

    def look(session: Session) -> datetime | None:
        return registry_preheats.takes_part(
            session, together.preheat, host_id, together.repository, now=utc_now()
        )

    until = await gateway.reading(look) if account.startswith(HOST_PREFIX) else None
    if until is None:
        raise denied(f"{account} takes no part in this pre-heat of {together.repository}")
    return until
