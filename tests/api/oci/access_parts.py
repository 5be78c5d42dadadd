"""What tests of access share: a registry that wants tokens, accounts, and a client of both."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from fleetwide.models.registry_access import AccountSpec, Grant
from fleetwide.registry.accounts import hash_secret, new_secret
from fleetwide.registry.digests import canonical_json, digest_of
from fleetwide.store import registry_accounts
from fleetwide.store.registry_accounts import Deed
from tests.registry_stack import Stack

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = b"{}"


@dataclass(frozen=True)
class Account:
    name: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> dict[str, str]:
        text = base64.b64encode(f"{self.name}:{self.secret}".encode()).decode()
        return {"Authorization": f"Basic {text}"}


def grants(**patterns: str) -> list[Grant]:
    """Grants as ``apps="pull,push"`` for ``apps/*`` and ``all="pull"`` for everything."""
    return [
        Grant.model_validate(
            {
                "repositories": "*" if name == "all" else f"{name}/*",
                "actions": actions.split(","),
            }
        )
        for name, actions in patterns.items()
    ]


def make(stack: Stack, name: str, given: Sequence[Grant] = (), **more: Any) -> Account:
    """A new account in the registry's database."""
    secret = new_secret()
    stored = "" if name == "anonymous" else hash_secret(secret)
    store = stack.store()
    with store.write() as session:
        spec = AccountSpec(name=name, grants=list(given), **more)
        registry_accounts.create(session, spec, stored, Deed("tests", datetime.now(UTC)))
    store.engine.dispose()
    return Account(name, secret)


def challenge_of(response: httpx2.Response) -> dict[str, str]:
    assert response.status_code == 401, response.text
    scheme, _, rest = response.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


@dataclass(frozen=True)
class Visitor:
    """A client that shows the tokens it is told to."""

    http: httpx2.Client

    def token(self, account: Account | None, *scopes: str) -> str:
        params = {"service": "fleetwide-registry", "scope": list(scopes)}
        headers = account.basic if account else {}
        response = self.http.get("/auth/token", params=params, headers=headers)
        assert response.status_code == 200, response.text
        document = response.json()
        assert document["token"] == document["access_token"]
        return str(document["token"])

    def ask(self, method: str, path: str, token: str = "", **request: Any) -> httpx2.Response:
        headers = dict(request.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.request(method, path, headers=headers, **request)

    def push(self, repository: str, token: str, tag: str = "1") -> str:
        """Push an image without layers; returns its config's digest."""
        digest = digest_of(CONFIG)
        place = self.ask("POST", f"/v2/{repository}/blobs/uploads/", token)
        assert place.status_code == 202, place.text
        location = httpx2.URL(str(self.http.base_url)).join(place.headers["Location"])
        put = self.ask("PUT", str(location.copy_add_param("digest", digest)), token, content=CONFIG)
        assert put.status_code == 201, put.text
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": len(CONFIG),
        }
        manifest = canonical_json(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
        )
        path = f"/v2/{repository}/manifests/{tag}"
        done = self.ask("PUT", path, token, content=manifest, headers={"Content-Type": MANIFEST})
        assert done.status_code == 201, done.text
        return digest
