"""Who may do what: every request below ``/v2/`` is let in here, or asked for a token."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial

import structlog

from api.oci.accounts import Accounts
from api.oci.errors import OciError, unavailable
from api.oci.logins import Logins
from api.oci.requests import Request
from api.oci.wanted import Wanted, wanted_by
from fleetwide.errors import FleetwideError
from fleetwide.providers.registry_keys import open_keys
from fleetwide.registry.scopes import Access, Caller, allows, scope_text
from fleetwide.registry.token_keys import KeyRing
from fleetwide.registry.tokens import LEEWAY, SERVICE, Claims, InvalidToken, verify
from fleetwide.settings import Settings
from fleetwide.store.session import Store

TOKEN_PATH = "/auth/token"  # noqa: S105  # a path
MAX_VERIFIED = 10_000
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

log = structlog.get_logger()


class Authority:
    """Judges by token; one per process, of one event loop. ``api.oci.token`` hands tokens out."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.enabled = settings.registry_auth == "token"
        self.accounts = Accounts(settings, store)
        self.logins = Logins(self.accounts)
        self._keys = open_keys(settings.registry_token_key) if self.enabled else None
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    def admit(self, request: Request) -> None:
        """Let the request pass; it knows who asks, and what else the caller may do, from then on.

        Raises:
            OciError: 401 with a challenge: there is no token, it is not valid, or it does not
                cover what the request needs.
        """
        if not self.enabled:
            return
        route = request.route
        mounted = request.parameter("from") if route.kind == "uploads" else None
        wanted = wanted_by(route.kind, request.method, route.repository, mounted)
        claims = self._claims(request, wanted)
        for access in wanted.needed:
            if not allows(claims.access, access):
                raise self._insufficient(request, wanted, claims.caller, access)
        request.by, request.allowed = claims.caller.name, partial(allows, claims.access)

    async def readable(self, name: str) -> list[str] | None:
        """What a listing may show the account of that name; None for all.

        Raises:
            OciError: 503, SQL does not answer.
        """
        return await self.accounts.readable(name) if self.enabled else None

    def keys(self) -> KeyRing:
        """The keys of tokens, as their file has them now.

        Raises:
            OciError: 503, the file cannot be used.
        """
        assert self._keys is not None
        try:
            return self._keys.read()
        except FleetwideError as fault:
            log.warning("registry.token_key_unusable", reason=fault.message)
            raise unavailable("the token key") from fault

    def _claims(self, request: Request, wanted: Wanted) -> Claims:
        kind, _, token = request.header(b"authorization").partition(" ")
        if kind.lower() != "bearer":
            raise self._challenge(request, wanted, "authentication is needed")
        mark, now = hashlib.sha256(token.encode("latin-1")).digest(), datetime.now(UTC)
        known = self._verified.get(mark)
        if known is not None and self._holds(known, now):
            return known
        try:
            claims = verify(self.keys(), token.strip(), now=now)
        except InvalidToken as fault:
            self._verified.pop(mark, None)
            raise self._challenge(request, wanted, str(fault), "invalid_token") from fault
        self._verified[mark] = claims
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return claims

    def _holds(self, claims: Claims, now: datetime) -> bool:
        """Whether a token that was verified before is valid still: in time, and by a known key.

        A key file that cannot be read takes no token back; each ends by itself within minutes.
        """
        if now.timestamp() >= claims.expires_at + LEEWAY:
            return False
        assert self._keys is not None
        try:
            return claims.kid in self._keys.read().accepted
        except FleetwideError:
            return True

    def _insufficient(
        self, request: Request, wanted: Wanted, caller: Caller, access: Access
    ) -> OciError:
        # Clients ask for another token by this challenge, so it is no 403.
        message = f"the account {caller.name} may not {_phrase(access)}"
        return self._challenge(request, wanted, message, "insufficient_scope")

    def _challenge(
        self, request: Request, wanted: Wanted, message: str, error: str | None = None
    ) -> OciError:
        parts = [("realm", f"{self._origin(request)}{TOKEN_PATH}"), ("service", SERVICE)]
        scopes = (*wanted.needed, *wanted.useful)
        if scopes:
            parts.append(("scope", scope_text(scopes)))
        if error is not None:
            parts.append(("error", error))
        text = ",".join(f'{name}="{value}"' for name, value in parts)
        header = (b"www-authenticate", f"Bearer {text}".encode("ascii", "replace"))
        return OciError(401, "UNAUTHORIZED", message, detail=_detail(scopes), headers=[header])

    def _origin(self, request: Request) -> str:
        """Scheme and host as the client sees them; a header that is none is not repeated."""
        host = request.header(b"host")
        if not _HOST.fullmatch(host):
            return self.settings.registry_url.rstrip("/")
        scheme = request.header(b"x-forwarded-proto")
        known = scheme if scheme in ("http", "https") else request.scope.get("scheme", "http")
        return f"{known}://{host}"

    def address(self, request: Request) -> str:
        """Where the request comes from; nginx adds the client's own address at the end."""
        if self.settings.registry_data_plane == "nginx":
            told = request.header(b"x-forwarded-for").rpartition(",")[2].strip()
            if told:
                return told[:64]
        client = request.scope.get("client")
        return str(client[0]) if client else ""


def _phrase(access: Access) -> str:
    if access.type == "registry":
        return "list the repositories"
    return f"{' and '.join(sorted(access.actions))} {access.name}"


def _detail(scopes: Iterable[Access]) -> list[dict[str, str]]:
    """What was needed, as Docker Distribution lists it."""
    return [
        {"Type": one.type, "Class": "", "Name": one.name, "Action": action}
        for one in scopes
        for action in sorted(one.actions)
    ]
