"""Checks of secrets. What scrypt costs is bounded, and so is guessing."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from api.oci.accounts import Accounts
from api.oci.errors import OciError
from fleetwide.models.registry_access import ACCOUNT_PATTERN, AccountKind
from fleetwide.registry.accounts import MAX_SECRET, Account, hash_secret, is_secret

SCRYPTS_AT_ONCE = 2
MAX_WAITING = 200
MAX_WAITING_OF_ONE = 50
"""From one address, so that it does not take the places of all others."""
REMEMBERED_SECONDS = 60.0
"""Docker logs in again for each repository; that must not cost 50 ms each."""
MAX_REMEMBERED = 10_000
MAX_FAILURES = 10
FAILURE_SECONDS = 60.0

log = structlog.get_logger()


@dataclass(frozen=True)
class _Try:
    name: str
    secret: str = field(repr=False)
    address: str


@dataclass
class Failures:
    """Wrong secrets of one account from one address since ``since``, in monotonic seconds."""

    since: float
    count: int = 0


@dataclass
class Logins:
    """Who is who, by account and secret."""

    accounts: Accounts
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _known: OrderedDict[bytes, float] = field(default_factory=OrderedDict, repr=False)
    """Keyed hashes of verified credentials, and until when they are believed."""
    _failures: OrderedDict[tuple[str, str], Failures] = field(default_factory=OrderedDict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SCRYPTS_AT_ONCE))
    _waiting: Counter[str] = field(default_factory=Counter)
    """How many wait or compute, by address."""
    _nobody: str = field(default_factory=lambda: hash_secret(secrets.token_hex(16)), repr=False)
    """The hash that a secret is compared with where there is no such account."""

    async def check(self, name: str, secret: str, address: str) -> Account:
        """The account, when the secret is its own and it may be used.

        Raises:
            OciError: 401 for a wrong account or secret, 429 after many of them or when too many
                wait, 503 when SQL does not answer.
        """
        if not re.fullmatch(ACCOUNT_PATTERN, name) or len(secret.encode()) > MAX_SECRET:
            raise _wrong()
        account = await self.accounts.find(name)
        stored = self._nobody if account is None else account.secret_hash
        mark = self._mark(name, secret, stored)
        if not self._believed(mark):
            self._check_failures(name, address)
            with self._place(address):
                await self._verify(_Try(name, secret, address), stored, mark)
        if account is None or account.kind is AccountKind.ANONYMOUS:
            raise _wrong()
        return usable(account)

    def _mark(self, name: str, secret: str, stored: str) -> bytes:
        # Of the stored hash, too, so that another secret of the account ends what was believed.
        text = f"{name}\0{secret}\0{stored}".encode()
        return hmac.digest(self._key, text, hashlib.sha256)

    def _believed(self, mark: bytes) -> bool:
        return self._known.get(mark, 0.0) > time.monotonic()

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        """A place in the queue."""
        full = self._waiting.total() >= MAX_WAITING
        if full or self._waiting[address] >= MAX_WAITING_OF_ONE:
            raise too_many(1, "too many log in at this moment")
        self._waiting[address] += 1
        try:
            yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    async def _verify(self, given: _Try, stored: str, mark: bytes) -> None:
        async with self._turns:
            # Somebody with the same credentials may have been before us in the queue,
            if self._believed(mark):
                return
            # or as many wrong secrets as are allowed.
            self._check_failures(given.name, given.address)
            if not await asyncio.to_thread(is_secret, given.secret, stored):
                self._failed(given.name, given.address)
                raise _wrong()
            self._believe(mark)

    def _believe(self, mark: bytes) -> None:
        self._known[mark] = time.monotonic() + REMEMBERED_SECONDS
        self._known.move_to_end(mark)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _check_failures(self, name: str, address: str) -> None:
        failures = self._failures.get((name, address))
        if failures is None:
            return
        left = failures.since + FAILURE_SECONDS - time.monotonic()
        if left <= 0:
            del self._failures[name, address]
        elif failures.count >= MAX_FAILURES:
            message = f"too many wrong secrets for this account; try again in {left:.0f} seconds"
            raise too_many(int(left) + 1, message)

    def _failed(self, name: str, address: str) -> None:
        key = (name, address)
        failures = self._failures.setdefault(key, Failures(time.monotonic()))
        failures.count += 1
        self._failures.move_to_end(key)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)
        # A mistyped line may hold the secret where the name should be.
        log.info("registry.login_failed", address=address, failures=failures.count)


def usable(account: Account) -> Account:
    """The account itself.

    Raises:
        OciError: 401, it is disabled or has expired.
    """
    if not account.usable(datetime.now(UTC)):
        state = "is disabled" if account.disabled else "has expired"
        raise OciError(401, "UNAUTHORIZED", f"the account {account.name} {state}")
    return account


def too_many(seconds: int, message: str) -> OciError:
    retry = (b"retry-after", str(seconds).encode())
    return OciError(429, "TOOMANYREQUESTS", message, headers=[retry])


def _wrong() -> OciError:
    return OciError(401, "UNAUTHORIZED", "the account or its secret is wrong")
