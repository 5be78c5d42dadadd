"""What a route of the registry's part of the API needs: an account, and what it may do.

Every router there has ``SIGNED_IN``; a route that is about one repository, or about what is
everybody's, adds what it needs of the caller. ``tests/api/registry/test_rights.py`` goes over all
routes.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase

from api.auth import Visitor
from api.deps import Platform, PlatformDep
from fleetwide.errors import Unauthenticated
from fleetwide.models.registry_access import Action


class _Scheme(SecurityBase):
    """One way to say who asks, for the documents of the API; ``Entrance`` reads the header."""

    def __init__(self, scheme: str, description: str) -> None:
        self.model = HTTPBase(scheme=scheme, description=description)
        self.scheme_name = f"registry-{scheme}"

    async def __call__(self) -> None:
        """Nothing: what was sent is looked at elsewhere."""


_BASIC = _Scheme("basic", "a registry account and its secret")
_BEARER = _Scheme("bearer", "a token of the registry's token server")


async def _visitor(request: Request, platform: PlatformDep) -> Visitor:
    return await platform.entrance.admit(request)


VisitorDep = Annotated[Visitor, Depends(_visitor)]


def on_repository(*actions: Action) -> Any:
    """That the caller may do all of ``actions`` with the repository of the path."""

    async def check(request: Request, visitor: VisitorDep) -> None:
        visitor.require(request.path_params["name"], *actions)

    return Depends(check)


async def _administration(visitor: VisitorDep) -> None:
    visitor.require_administration()


async def _sees_the_registry(request: Request, platform: PlatformDep) -> bool:
    try:
        visitor = await platform.entrance.admit(request)
    except Unauthenticated:
        if "authorization" in request.headers:
            raise
        return False
    return visitor.administers


SeesTheRegistry = Annotated[bool, Depends(_sees_the_registry)]
"""Whether the caller may be told what happened in the registry; nobody has to say who they are."""


async def require_operation(request: Request, platform: Platform, workflow_id: str) -> None:
    """Let a request for one workflow pass: who may ask for a change may ask what came of it.

    Raises:
        Denied: it is the registry's, and the account has no part in it.
        Unauthenticated: it is the registry's, and nobody says who asks.
    """
    kind, _, rest = workflow_id.partition("/")
    if kind not in _ON_REPOSITORIES and not kind.startswith("registry"):
        return
    visitor = await platform.entrance.admit(request)
    if kind == "registry-delete":
        visitor.require(rest, Action.DELETE)
    elif kind == "replicate":
        visitor.require(rest.partition("/")[2].partition("@")[0], Action.PULL)
    elif kind != "preheat":
        visitor.require_administration()


# Workflows about a repository, by the beginnings of their ids.
_ON_REPOSITORIES = frozenset({"registry-delete", "replicate", "preheat"})
SIGNED_IN = [Depends(_visitor), Depends(_BASIC), Depends(_BEARER)]
ADMINISTRATION = Depends(_administration)
MAY_PULL = on_repository(Action.PULL)
MAY_PUSH = on_repository(Action.PULL, Action.PUSH)
MAY_DELETE = on_repository(Action.DELETE)
