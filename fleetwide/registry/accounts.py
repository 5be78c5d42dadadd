"""Accounts of the registry: secrets and their hashes, and the file of a platform's own accounts."""

import base64
import hashlib
import hmac
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import (
    HOST_PREFIX,
    AccountEntry,
    AccountKind,
    AccountsFile,
    Grant,
)

MAX_SECRET = 512
"""Bytes of a secret that somebody sends."""
_COST, _BLOCK, _PARALLEL = 2**14, 8, 1
_MAX_WORK = 8 * _COST * _BLOCK * _PARALLEL
"""Of a hash that somebody wrote into a file."""
_SALT_BYTES, _HASH_BYTES, _SECRET_BYTES = 16, 32, 32


@dataclass(frozen=True)
class Account:
    """An account as the token server judges it."""

    name: str
    kind: AccountKind
    secret_hash: str = field(repr=False)
    grants: Sequence[Grant] = ()
    expires_at: datetime | None = None
    disabled: bool = False

    def usable(self, now: datetime) -> bool:
        return not self.disabled and (self.expires_at is None or now < self.expires_at)

    @property
    def host_id(self) -> str:
        """The container host that an account of kind ``host`` stands for."""
        return self.name.removeprefix(HOST_PREFIX)

    @property
    def generation(self) -> str:
        """Names the present secret without telling anything of it."""
        return hashlib.sha256(self.secret_hash.encode()).hexdigest()[:16]


def new_secret() -> str:
    """256 random bits, in letters that need no quoting."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def hash_secret(secret: str) -> str:
    """``scrypt$cost$block$parallel$salt$hash``; takes 16 MiB and some 50 ms of CPU."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _scrypt(secret, salt, _COST, _BLOCK, _PARALLEL)
    numbers = f"{_COST}${_BLOCK}${_PARALLEL}"
    return f"scrypt${numbers}${_base64(salt)}${_base64(digest)}"


def is_secret(secret: str, stored: str) -> bool:
    """Whether ``stored`` is the hash of ``secret``; an account without a hash has no secret."""
    try:
        kind, cost, block, parallel, salt, digest = stored.split("$")
        wanted = base64.b64decode(digest, validate=True)
        numbers = int(cost), int(block), int(parallel)
        bounded = min(numbers) > 0 and math.prod(numbers) <= _MAX_WORK
        if kind != "scrypt" or not bounded or len(wanted) != _HASH_BYTES:
            return False
        given = _scrypt(secret, base64.b64decode(salt, validate=True), *numbers)
    except ValueError:
        return False
    return hmac.compare_digest(given, wanted)


def parse_accounts(data: bytes, place: str) -> dict[str, Account]:
    """The accounts of a file, by name.

    Raises:
        InvalidInput: the file is not of that form; nothing of its content is told.
    """
    try:
        entries = AccountsFile.model_validate_json(data).root
    except ValidationError as error:
        spots = sorted({".".join(map(str, one["loc"])) for one in error.errors()})
        message = f"is no file of accounts: {', '.join(spots)[:200]}"
        raise InvalidInput.for_field("registry_accounts", message, given=place) from None
    return {name: _account(name, entry) for name, entry in entries.items()}


def _account(name: str, entry: AccountEntry) -> Account:
    host = name.startswith(HOST_PREFIX)
    kind = AccountKind.HOST if host else AccountKind.PLATFORM
    return Account(name, kind, entry.secret, tuple(entry.grants))


def _scrypt(secret: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    memory = 128 * block * (cost + parallel + 2) + 1024**2
    return hashlib.scrypt(
        secret.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=memory, dklen=_HASH_BYTES
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
