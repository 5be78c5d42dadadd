"""The token endpoint, as docker, containerd, skopeo and oras use it.

``GET`` with the account and its secret by Basic, or without for anonymous access; ``POST`` with
an OAuth2 form (``password`` and ``refresh_token``). A token covers as much of what was asked for
as the account may do; that may be nothing, and then the registry says so.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from api.oci.auth import Authority
from api.oci.errors import OciError
from api.oci.logins import usable
from api.oci.replies import Reply, json_reply
from api.oci.requests import Request, query_of
from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.accounts import Account
from fleetwide.registry.scopes import Access, Caller, allowed, parse_scopes
from fleetwide.registry.token_keys import KeyRing
from fleetwide.registry.tokens import (
    LIFETIME,
    SERVICE,
    InvalidToken,
    issue,
    issue_refresh,
    verify_refresh,
)

MAX_FORM = 64 * 1024
_OFFLINE = frozenset({"1", "true", "offline"})
_PRIVATE = (b"cache-control", b"no-store")
_BASIC = (b"www-authenticate", f'Basic realm="{SERVICE}"'.encode())
Form = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class TokenServer:
    """Answers token requests by the keys of this moment."""

    authority: Authority
    keys: KeyRing

    async def answer(self, request: Request) -> Reply:
        """The reply to one token request.

        Raises:
            OciError: 400 for what is no token request, 401 for wrong credentials, 405, 429 or
                503; each with a body that both kinds of clients can read.
        """
        if request.method == "GET":
            return await self._by_basic(request)
        if request.method == "POST":
            return await self._by_form(request)
        raise OciError(405, "UNSUPPORTED", "a token is asked for by GET or POST")

    async def _by_basic(self, request: Request) -> Reply:
        form = request.query
        wanted = _wanted(form)
        account = await self._basic_account(request)
        return await self._grant(account, wanted, offline=_first(form, "offline_token"))

    async def _basic_account(self, request: Request) -> Account:
        given = request.header(b"authorization")
        if not given:
            return await self._anonymous()
        name, secret = basic_credentials(given)
        return await self.authority.logins.check(name, secret, self.authority.address(request))

    async def _anonymous(self) -> Account:
        account = await self.authority.accounts.anonymous()
        if account is None:
            raise OciError(401, "UNAUTHORIZED", "authentication is needed: log in first")
        return account

    async def _by_form(self, request: Request) -> Reply:
        form = query_of(await request.body(MAX_FORM, "a form"))
        wanted = _wanted(form)
        kind, offline = _first(form, "grant_type"), _first(form, "access_type")
        if kind == "password":
            name, secret = _first(form, "username"), _first(form, "password")
            address = self.authority.address(request)
            account = await self.authority.logins.check(name, secret, address)
        elif kind == "refresh_token":
            account = await self._refreshed(_first(form, "refresh_token"))
        else:
            raise OciError(400, "UNSUPPORTED", "grant_type must be password or refresh_token")
        return await self._grant(account, wanted, offline=offline)

    async def _refreshed(self, token: str) -> Account:
        try:
            claims = verify_refresh(self.keys, token, now=datetime.now(UTC))
        except InvalidToken as fault:
            raise OciError(401, "UNAUTHORIZED", f"log in again: {fault}") from fault
        account = await self.authority.accounts.find(claims.caller.name)
        if account is None or account.generation != claims.generation:
            raise OciError(401, "UNAUTHORIZED", "log in again: the account has another secret")
        return usable(account)

    async def _grant(self, account: Account, wanted: list[Access], *, offline: str) -> Reply:
        accounts = self.authority.accounts
        grants = await accounts.grants(account) if wanted else ()
        catalog = account.kind is not AccountKind.HOST
        access = allowed(wanted, grants, catalog=catalog)
        await accounts.note_used(account)
        caller, now = Caller(account.name, account.kind), datetime.now(UTC)
        token = issue(self.keys, caller, access, now=now, jti=secrets.token_hex(16))
        document: dict[str, Any] = {
            "token": token,
            "access_token": token,
            "expires_in": LIFETIME,
            "issued_at": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "scope": " ".join(map(str, access)),
            "token_type": "Bearer",
        }
        if offline in _OFFLINE and account.kind is not AccountKind.ANONYMOUS:
            document["refresh_token"] = issue_refresh(
                self.keys, caller, account.generation, now=now, jti=secrets.token_hex(16)
            )
        return json_reply(200, document, [_PRIVATE])


async def answer_token(authority: Authority, request: Request) -> Reply:
    """The reply to a request of the token endpoint; errors are replies, too."""
    try:
        return await _server(authority).answer(request)
    except OciError as fault:
        return _refusal(fault)


def _server(authority: Authority) -> TokenServer:
    if not authority.enabled:
        raise OciError(404, "UNSUPPORTED", "this registry asks for no tokens")
    return TokenServer(authority, authority.keys())


def _refusal(fault: OciError) -> Reply:
    """An error in the words of both: the registry's list, and OAuth2's (RFC 6749, 5.2)."""
    words = {401: "invalid_grant", 429: "slow_down", 503: "temporarily_unavailable"}
    document = {
        "errors": [{"code": fault.code, "message": fault.message}],
        "error": words.get(fault.status, "invalid_request"),
        "error_description": fault.message,
    }
    headers = [_BASIC] if fault.status == 401 else []
    return json_reply(fault.status, document, [_PRIVATE, *headers, *fault.headers])


def _wanted(form: Form) -> list[Access]:
    service = _first(form, "service")
    if service not in ("", SERVICE):
        raise OciError(400, "UNSUPPORTED", f"this token server is the one of {SERVICE}")
    try:
        return parse_scopes(form.get("scope", ()))
    except InvalidInput as fault:
        raise OciError(400, "UNSUPPORTED", fault.message) from fault


def _first(form: Form, name: str) -> str:
    return next(iter(form.get(name, ())), "")


def basic_credentials(given: str) -> tuple[str, str]:
    """Account and secret of an Authorization header.

    Raises:
        OciError: 401, it is no Basic one.
    """
    kind, _, text = given.partition(" ")
    malformed = OciError(401, "UNAUTHORIZED", "the Authorization header is not a Basic one")
    if kind.lower() != "basic":
        raise malformed
    try:
        name, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise malformed from error
    if not colon:
        raise malformed
    return name, secret
