"""Where the gateway finds accounts and their rights: the platform's file first, then SQL."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.oci.errors import OciError, unavailable
from api.oci.host_memory import HostMemory
from fleetwide.errors import FleetwideError
from fleetwide.models.registry_access import ANONYMOUS, HOST_PREFIX, AccountKind, Grant
from fleetwide.providers.private_files import PrivateFile
from fleetwide.registry.accounts import Account, parse_accounts
from fleetwide.registry.scopes import readable
from fleetwide.settings import Settings
from fleetwide.store import registry_accounts
from fleetwide.store.session import Store

Answer = TypeVar("Answer")
USE_RECORDED_EVERY = timedelta(minutes=1)

log = structlog.get_logger()


class Accounts:
    """All accounts. Those of the platform itself need no database."""

    def __init__(self, settings: Settings, store: Store) -> None:
        place = settings.registry_accounts
        self._file = place and PrivateFile(place, "registry_accounts", parse_accounts)
        if self._file:
            self._file.read()  # a file that is no good is told at the start
        self._store = store
        self._hosts = HostMemory(settings.registry_stale_seconds)
        self._noted: dict[str, datetime] = {}
        """When this process last recorded that an account was used."""

    async def find(self, name: str) -> Account | None:
        """The account of that name; None when there is none.

        Raises:
            OciError: 503, the file or SQL does not answer, and it is no host that is remembered.
        """
        own = self._own(name)
        if own is not None:
            return own
        if not name.startswith(HOST_PREFIX):
            return await _asked(lambda: self._find(name))
        try:
            found = await _asked(lambda: self._find(name))
        except OciError:
            remembered = self._hosts.account(name)
            if remembered is None:
                raise
            return remembered
        self._hosts.note_account(name, found)
        return found

    def _own(self, name: str) -> Account | None:
        try:
            return self._file.read().get(name) if self._file else None
        except FleetwideError as fault:
            log.warning("registry.accounts_file_unusable", reason=fault.message)
            raise unavailable("the file of accounts") from fault

    def _find(self, name: str) -> Account | None:
        with self._store.read() as session:
            return registry_accounts.find(session, name)

    async def grants(self, account: Account) -> Sequence[Grant]:
        """What the account may do at this moment.

        Raises:
            OciError: 503, SQL does not answer, and the host is not remembered.
        """
        if account.kind is not AccountKind.HOST:
            return account.grants
        host_id = account.host_id
        try:
            found = await _asked(lambda: self._host_grants(host_id))
        except OciError:
            remembered = self._hosts.grants(host_id)
            if remembered is None:
                raise
            return remembered
        self._hosts.note_grants(host_id, found)
        return found

    def _host_grants(self, host_id: str) -> list[Grant]:
        with self._store.read() as session:
            return registry_accounts.host_grants(session, host_id, now=datetime.now(UTC))

    async def anonymous(self) -> Account | None:
        """What stands for requests without credentials; None when there are none allowed."""
        account = await self.find(ANONYMOUS)
        return account if account is not None and account.usable(datetime.now(UTC)) else None

    async def readable(self, name: str) -> list[str] | None:
        """What a listing may show the account, as ``scopes.readable`` says it."""
        account = await self.find(name)
        if account is None or not account.usable(datetime.now(UTC)):
            return []
        return readable(await self.grants(account))

    async def note_used(self, account: Account) -> None:
        """Record that the account got a token; a login does not fail because of it."""
        now = datetime.now(UTC)
        before = now - USE_RECORDED_EVERY
        if account.kind is AccountKind.PLATFORM or self._noted.get(account.name, before) > before:
            return
        self._noted[account.name] = now
        try:
            await asyncio.to_thread(self._note_used, account.name, now, before)
        except SQLAlchemyError as error:
            log.warning("registry.account_use_not_recorded", error=type(error).__name__)

    def _note_used(self, name: str, now: datetime, before: datetime) -> None:
        with self._store.write() as session:
            registry_accounts.note_used(session, name, now, before)


async def _asked(question: Callable[[], Answer]) -> Answer:
    try:
        return await asyncio.to_thread(question)
    except SQLAlchemyError as error:
        log.warning("registry.accounts_unreachable", error=type(error).__name__)
        raise unavailable("the index of accounts") from error
