"""Who may do what in the registry: accounts, what they are granted, and what people see of them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, RootModel

from fleetwide.models.base import NAME_PATTERN, Record, Spec, Timestamp
from fleetwide.models.texts import Line, Prose

ANONYMOUS = "anonymous"
"""The account of requests without credentials; nobody can log in as it."""
HOST_PREFIX = "host/"
ACCOUNT_PATTERN = rf"^(host/)?{NAME_PATTERN.removeprefix('^')}"
_SEGMENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REPOSITORIES_PATTERN = rf"^(\*|{_SEGMENT}(/{_SEGMENT})*(/\*)?)$"
MAX_GRANTS = 100


class Action(StrEnum):
    """What can be done with a repository."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    ALL = "*"


class AccountKind(StrEnum):
    """Where an account's rights come from."""

    PLATFORM = "platform"
    """A process of the platform itself; its grants stand in the accounts file."""
    ROBOT = "robot"
    """A program or a person; the grants stand in SQL."""
    HOST = "host"
    """A container host; it may pull what is reserved for it at this moment."""
    ANONYMOUS = "anonymous"
    """Whoever gives no credentials."""


class Grant(Spec):
    """Some actions on some repositories."""

    repositories: Annotated[
        str, Field(pattern=REPOSITORIES_PATTERN, max_length=255, examples=["apps/*"])
    ]
    """A repository, all below a path (``apps/*``, at any depth), or all (``*``)."""
    actions: Annotated[list[Action], Field(min_length=1, max_length=4)]


AccountName = Annotated[str, Field(pattern=ACCOUNT_PATTERN, examples=["ci"])]
Grants = Annotated[list[Grant], Field(max_length=MAX_GRANTS)]


class AccountSpec(Spec):
    """A registry account to be made."""

    name: AccountName
    """``host/<host id>`` for a container host, ``anonymous`` for requests without credentials."""
    grants: Grants = []
    """Empty for a host: what it may pull follows from its work."""
    owner: Line = Field(default="", max_length=200)
    description: Annotated[Prose, Field(max_length=500)] = ""
    expires_at: Timestamp | None = None


class GrantsSpec(Spec):
    """What an account may do from now on, instead of what it could before."""

    grants: Grants


class AccountEntry(Spec):
    """One account of the accounts file; its name is the key."""

    secret: str
    """The hash of its secret: ``scrypt$cost$block$parallel$salt$hash``."""
    grants: Grants = []


class AccountsFile(RootModel[dict[AccountName, AccountEntry]]):
    """The file of a platform's own accounts."""


class AccountDocument(Record):
    """A registry account; never its secret."""

    name: str
    kind: AccountKind
    grants: list[Grant] = []
    description: str = ""
    created_by: str = ""
    created_at: Timestamp
    expires_at: Timestamp | None = None
    disabled_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    """To the minute."""
    links: dict[str, str] = {}


class AccountSecret(Record):
    """An account with its new secret, which is shown this once and cannot be read again."""

    account: AccountDocument
    secret: str = Field(repr=False)
    """Empty for the anonymous account."""


class OwnRights(Record):
    """Who the caller is, and what they may do by the credentials that they sent."""

    account: str
    """Empty where the registry asks nobody."""
    kind: AccountKind
    grants: list[Grant] = []
    administers: bool
    """Whether accounts, quotas and upkeep are theirs to change."""


def kind_of(name: str) -> AccountKind:
    """The kind of an account that is kept in SQL."""
    if name == ANONYMOUS:
        return AccountKind.ANONYMOUS
    return AccountKind.HOST if name.startswith(HOST_PREFIX) else AccountKind.ROBOT
