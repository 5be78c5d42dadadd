"""The client's methods for registry accounts."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Page
from fleetwide.models.registry_access import (
    AccountDocument,
    AccountSecret,
    AccountSpec,
    Grants,
    GrantsSpec,
    OwnRights,
)

_PATH = "/v1/registry/accounts"


class AccountClient:
    """Who may pull and push."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def whoami(self) -> OwnRights:
        """Who this client is, and what it may do."""
        return self._transport.get("/v1/registry/whoami", OwnRights)

    def create(self, spec: AccountSpec) -> AccountSecret:
        """Make an account; its secret is in the answer and nowhere else."""
        return self._transport.post(_PATH, AccountSecret, body=spec)

    def list(self, *, cursor: str | None = None, limit: int = 50) -> Page[AccountDocument]:
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(_PATH, Page[AccountDocument], query)

    def get(self, name: str) -> AccountDocument:
        return self._transport.get(_of(name), AccountDocument)

    def set_grants(self, name: str, grants: Grants) -> AccountDocument:
        """Replace what an account may do."""
        body = GrantsSpec(grants=grants)
        return self._transport.put(f"{_of(name)}/grants", AccountDocument, body)

    def rotate(self, name: str) -> AccountSecret:
        """Give an account another secret; the old one ends at once."""
        return self._transport.post(f"{_of(name)}/rotate", AccountSecret)

    def disable(self, name: str) -> AccountDocument:
        return self._transport.post(f"{_of(name)}/disable", AccountDocument)

    def enable(self, name: str) -> AccountDocument:
        return self._transport.post(f"{_of(name)}/enable", AccountDocument)

    def delete(self, name: str) -> None:
        self._transport.delete(_of(name))


def _of(name: str) -> str:
    return f"{_PATH}/{segment(name)}"
