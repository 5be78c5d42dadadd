"""How a client answers a registry that wants to know who it is: Bearer tokens, as Docker's do."""

import base64
import json
import re
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from threading import Lock

import httpx2

from fleetwide.errors import RegistryUnavailable
from fleetwide.providers.bounded_answers import PLAIN
from fleetwide.settings import Settings

MIN_LIFETIME = 60.0
"""Seconds that a token is believed to live when the server does not say."""
MARGIN = 30.0
"""Seconds before its end from which on a token is not used any more."""
_CHALLENGE = re.compile(r"\s*bearer\s+(.*)", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_RESOURCE = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers|_preheat)/")


@dataclass(frozen=True)
class Credentials:
    """A registry account and its secret, which never shows."""

    username: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Credentials | None":
        """What this process logs in with; None when it has no account."""
        if not settings.registry_username:
            return None
        return cls(settings.registry_username, settings.registry_password.get_secret_value())

    def basic(self) -> str:
        """The value of a Basic Authorization header."""
        text = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(text).decode()}"

    def for_docker(self, registry: str) -> str:
        """The ``X-Registry-Auth`` header by which Docker's daemon logs in at ``registry``."""
        document = {
            "username": self.username,
            "password": self.password,
            "serveraddress": registry,
        }
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    until: float
    """In monotonic seconds."""


class TokenAuth(httpx2.Auth):
    """Asks for a token when the registry wants one, and keeps it until shortly before its end.

    The first request of a kind meets the challenge, which names the scope; requests alike use the
    token from then on. Safe to share between threads. Tokens go to the registry alone, the secret
    to it and to token servers that are reached over TLS.
    """

    def __init__(self, base_url: str, credentials: Credentials | None) -> None:
        self._origin = _origin(httpx2.URL(base_url))
        self._credentials = credentials
        self._challenges: dict[tuple[str, str], dict[str, str]] = {}
        self._tokens: dict[str, _Token] = {}
        self._lock = Lock()

    def sync_auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        if _origin(request.url) != self._origin:
            yield request  # an upload at another address: its signed URL is the permission
            return
        kind = _kind(request)
        challenge = self._challenges.get(kind)
        if challenge is not None:
            request.headers["Authorization"] = yield from self._bearer(challenge, fresh=False)
        response = yield request
        if response.status_code != 401 or _origin(response.request.url) != self._origin:
            return
        offered = _challenge(response)
        if offered is None:
            return
        with self._lock:
            self._challenges[kind] = offered
        # A refused token is not used again; with another scope there may be one already.
        refused = challenge is not None and offered.get("error") != "insufficient_scope"
        request.headers["Authorization"] = yield from self._bearer(offered, fresh=refused)
        yield request

    def _bearer(
        self, challenge: dict[str, str], *, fresh: bool
    ) -> Generator[httpx2.Request, httpx2.Response, str]:
        key = challenge.get("scope", "")
        with self._lock:
            token = self._tokens.get(key)
        if fresh or token is None or token.until < time.monotonic():
            response = yield self._token_request(challenge)
            response.read()
            token = _token(response)
            with self._lock:
                self._tokens[key] = token
        return f"Bearer {token.text}"

    def _token_request(self, challenge: dict[str, str]) -> httpx2.Request:
        realm = httpx2.URL(challenge["realm"])
        params: list[tuple[str, str | int | float | bool | None]] = [
            ("service", challenge.get("service", ""))
        ]
        params += [("scope", scope) for scope in challenge.get("scope", "").split()]
        headers = dict(PLAIN)
        if self._credentials is not None:
            self._check_realm(realm)
            headers["Authorization"] = self._credentials.basic()
        return httpx2.Request("GET", realm, params=params, headers=headers)

    def _check_realm(self, realm: httpx2.URL) -> None:
        if realm.scheme != "https" and _origin(realm) != self._origin:
            raise RegistryUnavailable(
                f"the registry wants this process to log in at {realm}, which is another server "
                "and not reached over TLS"
            )


def _kind(request: httpx2.Request) -> tuple[str, str]:
    """Requests alike need the same scope: reading, writing or deleting in one repository."""
    path = request.url.path
    match = _RESOURCE.match(path)
    verb = "GET" if request.method == "HEAD" else request.method
    if "/blobs/uploads" in path:
        # A mount names the other repository in its scope.
        verb = f"upload {request.url.params.get('from', '')}"
    return verb, match[1] if match else path


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _challenge(response: httpx2.Response) -> dict[str, str] | None:
    match = _CHALLENGE.match(response.headers.get("WWW-Authenticate", ""))
    found = dict(_PARAMETER.findall(match[1])) if match else {}
    return found if found.get("realm") else None


def _token(response: httpx2.Response) -> _Token:
    if response.status_code != 200:
        raise RegistryUnavailable(
            f"{response.request.url.copy_with(query=None)} answered {response.status_code} to a "
            f"request for a token{_reason(response)}"
        )
    try:
        document = json.loads(response.content)
        text = str(document.get("token") or document["access_token"])
        lifetime = max(float(document.get("expires_in", 0)), MIN_LIFETIME)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryUnavailable("the registry's token server answers no token") from error
    return _Token(text, time.monotonic() + lifetime - MARGIN)


def _reason(response: httpx2.Response) -> str:
    try:
        return f": {json.loads(response.content)['errors'][0]['message']}"
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
