"""Registry accounts: who may pull and push, and with which secret."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Path, Query
from fastapi.openapi.models import Example

from api.auth import Visitor
from api.deps import LimitQuery, PlatformDep
from api.rights import ADMINISTRATION, SIGNED_IN, VisitorDep
from fleetwide.models.documents import Page
from fleetwide.models.registry_access import (
    ACCOUNT_PATTERN,
    AccountDocument,
    AccountKind,
    AccountSecret,
    AccountSpec,
    GrantsSpec,
    kind_of,
)
from fleetwide.registry.accounts import hash_secret, new_secret
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.registry_tables import RegistryAccountRow

PREFIX = "/v1/registry/accounts"
router = APIRouter(prefix=PREFIX, tags=["registry"], dependencies=[*SIGNED_IN, ADMINISTRATION])

EXAMPLES: dict[str, Example] = {
    "ci": {
        "summary": "A build server that pushes applications and pulls everything",
        "value": {
            "name": "ci",
            "grants": [
                {"repositories": "apps/*", "actions": ["pull", "push"]},
                {"repositories": "*", "actions": ["pull"]},
            ],
            "owner": "team-build",
            "description": "the build server",
        },
    },
    "anonymous": {
        "summary": "Let everybody pull what is below public/",
        "value": {
            "name": "anonymous",
            "grants": [{"repositories": "public/*", "actions": ["pull"]}],
        },
    },
    "host": {"summary": "A container host", "value": {"name": "host/rack-7"}},
}
# The name of a host's account has a slash in it.
Name = Annotated[str, Path(pattern=ACCOUNT_PATTERN, examples=["ci"])]
Cursor = Annotated[
    str | None, Query(pattern=ACCOUNT_PATTERN, description="next of the page before")
]


@router.post("", status_code=201)
def create_account(
    platform: PlatformDep,
    visitor: VisitorDep,
    spec: Annotated[AccountSpec, Body(openapi_examples=EXAMPLES)],
) -> AccountSecret:
    """Make an account. Its secret is in this answer and nowhere else."""
    secret = "" if kind_of(spec.name) is AccountKind.ANONYMOUS else new_secret()
    stored = hash_secret(secret) if secret else ""
    with platform.store.write() as session:
        row = registry_accounts.create(session, spec, stored, _deed(visitor))
    return AccountSecret(account=_document(row), secret=secret)


@router.get("")
def list_accounts(
    platform: PlatformDep, cursor: Cursor = None, limit: LimitQuery = 50
) -> Page[AccountDocument]:
    """Accounts by name, without those of the platform's own processes."""
    with platform.store.read() as session:
        rows = registry_accounts.page(session, after=cursor or "", limit=limit)
    following = rows[-1].name if len(rows) == limit else None
    return Page(items=[_document(row) for row in rows], next=following)


@router.get("/{name:path}")
def get_account(platform: PlatformDep, name: Name) -> AccountDocument:
    """One account."""
    with platform.store.read() as session:
        return _document(registry_accounts.require(session, name))


@router.put("/{name:path}/grants")
def set_grants(
    platform: PlatformDep, visitor: VisitorDep, name: Name, spec: GrantsSpec
) -> AccountDocument:
    """Replace what an account may do; tokens that are out keep the old rights for minutes."""
    with platform.store.write() as session:
        row = registry_accounts.set_grants(session, name, spec.grants, _deed(visitor))
    return _document(row)


@router.post("/{name:path}/rotate")
def rotate_account(platform: PlatformDep, visitor: VisitorDep, name: Name) -> AccountSecret:
    """Give an account another secret; nobody can log in with the old one any more."""
    secret = new_secret()
    stored = hash_secret(secret)
    with platform.store.write() as session:
        row = registry_accounts.rotate(session, name, stored, _deed(visitor))
    return AccountSecret(account=_document(row), secret=secret)


@router.post("/{name:path}/disable")
def disable_account(platform: PlatformDep, visitor: VisitorDep, name: Name) -> AccountDocument:
    """Give an account no more tokens; those that are out end within five minutes."""
    with platform.store.write() as session:
        row = registry_accounts.disable(session, name, _deed(visitor))
    return _document(row)


@router.post("/{name:path}/enable")
def enable_account(platform: PlatformDep, visitor: VisitorDep, name: Name) -> AccountDocument:
    """Let a disabled account log in again, by the secret it had."""
    with platform.store.write() as session:
        row = registry_accounts.enable(session, name, _deed(visitor))
    return _document(row)


@router.delete("/{name:path}", status_code=204)
def delete_account(platform: PlatformDep, visitor: VisitorDep, name: Name) -> None:
    """Remove an account; tokens that are out end within five minutes."""
    with platform.store.write() as session:
        registry_accounts.delete(session, name, _deed(visitor))


def _deed(visitor: Visitor) -> Deed:
    return Deed(visitor.signs(), datetime.now(UTC))


def _document(row: RegistryAccountRow) -> AccountDocument:
    document = registry_accounts.document(row)
    return document.model_copy(update={"links": {"self": f"{PREFIX}/{quote(row.name, safe='')}"}})
