"""Scopes: what a client asks of a token, and what a token allows.

The grammar is Docker's: ``repository:apps/hello:pull,push``, several of them in one parameter
with blanks between, several parameters, and ``registry:catalog:*``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import AccountKind, Action, Grant

REPOSITORY = "repository"
REGISTRY = "registry"
CATALOG = "catalog"
MAX_SCOPES = 50
MAX_LENGTH = 1024
_ALL = frozenset({Action.PULL.value, Action.PUSH.value, Action.DELETE.value})
# The name may hold a colon (a registry's host and port), so the last one ends it.
_SCOPE = re.compile(
    r"(?P<type>[a-z0-9]+)(?:\([a-z0-9]+\))?:(?P<name>[^\s:\"\\]+(?::[^\s:\"\\]+)*)"
    r":(?P<actions>[a-z*]+(?:,[a-z*]+)*)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    kind: AccountKind


@dataclass(frozen=True)
class Access:
    """Actions on one thing: asked for, or allowed."""

    type: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(_ordered(self.actions))}"

    @classmethod
    def repository(cls, name: str, *actions: str) -> "Access":
        return cls(REPOSITORY, name, frozenset(actions))


CATALOG_ACCESS = Access(REGISTRY, CATALOG, frozenset({Action.ALL.value}))
ADMINISTRATION = Access(REGISTRY, "admin", frozenset({Action.ALL.value}))
"""Accounts, quotas and upkeep, by the API. No client of the registry itself asks for it."""


def parse_scopes(texts: Iterable[str]) -> list[Access]:
    """The scopes of a token request, each thing once, in the order they were asked for.

    Raises:
        InvalidInput: one is malformed, or there are too many.
    """
    words = [word for text in texts for word in _words(text)]
    if len(words) > MAX_SCOPES:
        message = f"has {len(words)} parts; the limit is {MAX_SCOPES}"
        raise InvalidInput.for_field("scope", message)
    return merged(_parse(word) for word in words)


def _words(text: str) -> list[str]:
    if len(text) > MAX_LENGTH * MAX_SCOPES:
        raise InvalidInput.for_field("scope", f"has {len(text)} characters")
    return text.split(" ") if text else []


def _parse(word: str) -> Access:
    match = _SCOPE.fullmatch(word) if len(word) <= MAX_LENGTH else None
    if match is None:
        raise InvalidInput.for_field(
            "scope", "must be as repository:NAME:pull,push", given=word[:MAX_LENGTH]
        )
    actions = frozenset(filter(None, (match["actions"] or "").split(",")))
    return Access(match["type"], match["name"], actions)


def merged(scopes: Iterable[Access]) -> list[Access]:
    """Each thing once, with all its actions."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for scope in scopes:
        key = (scope.type, scope.name)
        found[key] = found.get(key, frozenset()) | scope.actions
    return [Access(kind, name, actions) for (kind, name), actions in found.items()]


def scope_text(wanted: Sequence[Access]) -> str:
    """Scopes as a challenge names them."""
    return " ".join(map(str, wanted))


def matches(grant: Grant, repository: str) -> bool:
    """Whether the grant is about this repository."""
    pattern = grant.repositories
    if pattern in ("*", repository):
        return True
    return pattern.endswith("/*") and repository.startswith(pattern[:-1])


def actions_on(grants: Iterable[Grant], repository: str) -> frozenset[str]:
    """What the grants allow on a repository; ``*`` stands for each action there is."""
    given = {
        action.value for grant in grants if matches(grant, repository) for action in grant.actions
    }
    return _ALL if Action.ALL.value in given else frozenset(given)


def allowed(wanted: Iterable[Access], grants: Sequence[Grant], *, catalog: bool) -> list[Access]:
    """The part of ``wanted`` that the grants allow; things without any are left out.

    The catalog is for everybody who may have it at all: what it lists depends on the grants.
    """
    found: list[Access] = []
    for scope in merged(wanted):
        if scope.type == REPOSITORY:
            asked = _ALL if Action.ALL.value in scope.actions else scope.actions
            actions = asked & actions_on(grants, scope.name)
        else:
            actions = scope.actions & _of_registry(scope, grants, catalog=catalog)
        if actions:
            found.append(Access(scope.type, scope.name, actions))
    return found


def _of_registry(scope: Access, grants: Sequence[Grant], *, catalog: bool) -> frozenset[str]:
    """What may be done with a thing that is no repository."""
    thing = (scope.type, scope.name)
    if catalog and thing == (REGISTRY, CATALOG):
        return CATALOG_ACCESS.actions
    if administers(grants) and thing == (REGISTRY, ADMINISTRATION.name):
        return ADMINISTRATION.actions
    return frozenset()


def administers(grants: Iterable[Grant]) -> bool:
    """Whether the grants are those of who runs the registry: ``*`` on all repositories.

    The three actions by name are not enough: a builder has them.
    """
    return any(one.repositories == "*" and Action.ALL in one.actions for one in grants)


def allows(held: Iterable[Access], wanted: Access) -> bool:
    """Whether what is held covers all that is wanted."""
    actions = {
        action
        for access in held
        if (access.type, access.name) == (wanted.type, wanted.name)
        for action in access.actions
    }
    return wanted.actions <= actions


def readable(grants: Sequence[Grant]) -> list[str] | None:
    """What a listing may show: repositories, and paths that end in a slash; None for all."""
    patterns = [
        grant.repositories
        for grant in grants
        if Action.PULL in grant.actions or Action.ALL in grant.actions
    ]
    if "*" in patterns:
        return None
    return sorted({pattern.removesuffix("*") for pattern in patterns})


def _ordered(actions: Iterable[str]) -> list[str]:
    """The order in which Docker writes them; a token cache compares texts."""
    order = {"pull": 0, "push": 1, "delete": 2}
    return sorted(actions, key=lambda action: (order.get(action, 3), action))
