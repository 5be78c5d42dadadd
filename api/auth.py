"""Who asks the registry's part of the API, and what they may do there.

The accounts, grants and tokens are those of the registry itself, so that nobody may do here what
they may not do there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from fastapi import HTTPException, Request

from api.oci.accounts import Accounts
from api.oci.errors import OciError
from api.oci.logins import Logins
from api.oci.token import basic_credentials
from fleetwide.errors import (
    Denied,
    FleetwideError,
    InvalidInput,
    ServiceUnavailable,
    Unauthenticated,
)
from fleetwide.models.registry_access import AccountKind, Action, Grant
from fleetwide.models.registry_documents import DeletionRequest
from fleetwide.models.registry_gc import PauseRequest
from fleetwide.models.registry_retention import ApplyRequest, RegistryRetentionRequest
from fleetwide.providers.private_files import PrivateFile
from fleetwide.registry.accounts import Account
from fleetwide.registry.quotas import namespace_of
from fleetwide.registry.scopes import (
    ADMINISTRATION,
    CATALOG_ACCESS,
    REPOSITORY,
    actions_on,
    administers,
    allows,
    readable,
)
from fleetwide.registry.token_keys import KeyRing, parse_keys
from fleetwide.registry.tokens import Claims, InvalidToken, verify
from fleetwide.settings import Settings
from fleetwide.store.session import Store

LOG_IN = "fleetwide registry login"
MAX_BY = 200
"""Characters of who did something."""
# Neither a host nor everybody runs a registry, whatever somebody has granted them.
_TRUSTED = (AccountKind.PLATFORM, AccountKind.ROBOT)
_EVERYTHING = (Grant(repositories="*", actions=[Action.ALL]),)


# The requests that tell who makes them.
Signed = TypeVar("Signed", DeletionRequest, RegistryRetentionRequest, ApplyRequest, PauseRequest)


@dataclass(frozen=True)
class Visitor:
    """Who asks, and what they may do."""

    name: str
    """The account; empty where nobody is asked for one."""
    kind: AccountKind
    grants: Sequence[Grant]
    lists: Sequence[str] | None
    """What listings show, as ``scopes.readable`` says it; None for all."""
    administers: bool
    """Whether accounts, quotas and upkeep are theirs to change."""

    def may(self, repository: str, *actions: Action) -> bool:
        """Whether the account may do all of ``actions`` with the repository."""
        return actions_on(self.grants, repository).issuperset(actions)

    def require(self, repository: str, *actions: Action) -> None:
        """Let the request pass.

        Raises:
            Denied: the account may not do that.
            Unauthenticated: anonymous may not do that; an account might.
        """
        if not self.may(repository, *actions):
            self._refuse(f"{' and '.join(actions)} {repository}")

    def require_administration(self) -> None:
        """Let the request pass when it may change what is everybody's.

        Raises:
            Denied: the account does not administer the registry.
            Unauthenticated: anonymous does not; an account might.
        """
        if not self.administers:
            self._refuse("administer the registry")

    def require_namespace(self, namespace: str) -> None:
        """Let the request pass when the account may pull something of the namespace.

        Raises:
            Denied: it may not.
            Unauthenticated: anonymous may not; an account might.
        """
        shown = self.lists
        if shown is not None and namespace not in {namespace_of(one) for one in shown}:
            self._refuse(f"see the namespace {namespace}")

    def signs(self, given: str = "") -> str:
        """Who did something: the account, and behind it whom it says that it acts for."""
        if not self.name or given == self.name:
            return given or self.name
        return f"{self.name} ({given})"[:MAX_BY] if given else self.name

    def signed(self, request: Signed) -> Signed:
        """The request with who really makes it."""
        return request.model_copy(update={"by": self.signs(request.by)})

    def _refuse(self, what: str) -> None:
        if self.kind is AccountKind.ANONYMOUS:
            raise Unauthenticated(f"without an account nobody may {what}", hint=LOG_IN)
        raise Denied(f"the account {self.name} may not {what}", hint="fleetwide registry whoami")


ANYBODY = Visitor("", AccountKind.PLATFORM, _EVERYTHING, None, administers=True)
"""Everybody, where the registry asks nobody."""


class Entrance:
    """Finds out who asks; one per process, of one event loop."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._open = settings.registry_auth == "off"
        self._accounts = Accounts(settings, store)
        self._logins = Logins(self._accounts)
        key = settings.registry_token_key
        self._keys = PrivateFile(key, "registry_token_key", parse_keys)
        self._has_keys = key.exists

    async def admit(self, request: Request) -> Visitor:
        """Who asks: by Basic with an account and its secret, by a token of the registry, or nobody.

        Raises:
            Unauthenticated: no credentials, or wrong ones.
            HTTPException: 429 after many wrong secrets.
            ServiceUnavailable: SQL, or the file of accounts or keys, does not answer.
        """
        if self._open:
            return ANYBODY
        given = request.headers.get("authorization", "")
        try:
            if not given:
                return await self._anonymous()
            if given.partition(" ")[0].lower() == "bearer":
                return await self._by_token(given.partition(" ")[2].strip())
            return await self._by_secret(request, given)
        except OciError as fault:
            raise _translated(fault) from fault

    async def _anonymous(self) -> Visitor:
        account = await self._accounts.anonymous()
        if account is None:
            raise Unauthenticated("the registry wants to know who asks", hint=LOG_IN)
        return await self._visitor(account)

    async def _by_secret(self, request: Request, given: str) -> Visitor:
        name, secret = basic_credentials(given)
        address = request.client.host if request.client else ""
        return await self._visitor(await self._logins.check(name, secret, address))

    async def _visitor(self, account: Account) -> Visitor:
        grants = await self._accounts.grants(account)
        await self._accounts.note_used(account)
        trusted = account.kind in _TRUSTED and administers(grants)
        return Visitor(account.name, account.kind, grants, readable(grants), administers=trusted)

    async def _by_token(self, token: str) -> Visitor:
        """A token gives what it was issued for, also where its account may do more."""
        try:
            claims = verify(self._key_ring(), token, now=datetime.now(UTC))
        except InvalidToken as fault:
            raise Unauthenticated(f"the token is of no use: {fault}", hint=LOG_IN) from fault
        grants = list(_granted(claims))
        lists = readable(grants)
        if lists is not None and allows(claims.access, CATALOG_ACCESS):
            all_of_account = await self._accounts.readable(claims.caller.name)
            lists = None if all_of_account is None else sorted({*lists, *all_of_account})
        caller = claims.caller
        trusted = caller.kind in _TRUSTED and allows(claims.access, ADMINISTRATION)
        return Visitor(caller.name, caller.kind, grants, lists, administers=trusted)

    def _key_ring(self) -> KeyRing:
        if not self._has_keys():
            # The gateway makes the key. One made here would be another than its.
            raise Unauthenticated(
                "this API does not know the key of the registry's tokens",
                hint="send the account and its secret, or share FLEETWIDE_REGISTRY_TOKEN_KEY",
            )
        try:
            return self._keys.read()
        except FleetwideError as fault:
            raise ServiceUnavailable("the key of the registry's tokens cannot be read") from fault


def _granted(claims: Claims) -> Iterable[Grant]:
    for one in claims.access:
        actions = [action for action in Action if action.value in one.actions]
        if one.type == REPOSITORY and actions:
            try:
                yield Grant(repositories=one.name, actions=actions)
            except ValueError:
                continue  # no repository can have that name


def _translated(fault: OciError) -> FleetwideError | HTTPException:
    if fault.status == 401:
        return Unauthenticated(fault.message, hint=LOG_IN)
    if fault.status == 503:
        return ServiceUnavailable(fault.message, hint="try again in some seconds")
    if fault.status == 400:
        return InvalidInput.for_field("authorization", fault.message)
    headers = {name.decode(): value.decode() for name, value in fault.headers}
    return HTTPException(fault.status, fault.message, headers)
