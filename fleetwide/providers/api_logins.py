"""What a client logs in with at the registry's part of an API, and where that is kept.

A process has its account in the environment. What a person has given to ``fleetwide registry
login`` lies in a file of their own; a development platform writes one into its state folder.
"""

import os
from collections.abc import Generator
from pathlib import Path

import httpx2
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.providers.private_files import read_private, replace_private
from fleetwide.providers.registry_auth import Credentials
from fleetwide.settings import Settings

FILE = "registry-logins.json"
ASKED_AT = ("/v1/registry", "/v1/events", "/v1/operations/")
"""Only there the API asks who somebody is, so no secret is sent elsewhere."""


class _Kept(BaseModel):
    """A login as the file has it."""

    model_config = ConfigDict(extra="ignore")

    username: str
    password: str = Field(repr=False)


_LOGINS = TypeAdapter(dict[str, _Kept])


class LoginAuth(httpx2.Auth):
    """Shows an account and its secret where they are asked for."""

    def __init__(self, login: Credentials) -> None:
        self._basic = login.basic()

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        if request.url.path.startswith(ASKED_AT):
            request.headers["Authorization"] = self._basic
        yield request


def login_for(api_url: str, settings: Settings) -> Credentials | None:
    """What to log in with at the API: the environment's, else a person's, else the development
    platform's; None when there is none.

    Raises:
        InvalidInput: a file of logins may be read by others, or is none.
    """
    known = Credentials.of(settings)
    if known is not None:
        return known
    for path in (own_file(settings), settings.state_dir / FILE):
        kept = _read(path).get(_key(api_url))
        if kept is not None:
            return Credentials(kept.username, kept.password)
    return None


def remember(path: Path, api_url: str, login: Credentials) -> None:
    """Keep a login in the file, which only its owner may read.

    Raises:
        InvalidInput: there is a file already, and it is no file of logins.
    """
    kept = _Kept(username=login.username, password=login.password)
    _write(path, {**_read(path), _key(api_url): kept})


def forget(path: Path, api_url: str) -> bool:
    """Take the API's login out of the file; False when there was none."""
    logins = _read(path)
    if logins.pop(_key(api_url), None) is None:
        return False
    _write(path, logins)
    return True


def own_file(settings: Settings) -> Path:
    """The person's file of logins."""
    if settings.registry_logins is not None:
        return settings.registry_logins
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "fleetwide" / FILE


def _key(api_url: str) -> str:
    return api_url.rstrip("/")


def _read(path: Path) -> dict[str, _Kept]:
    try:
        return _LOGINS.validate_json(read_private(path, "registry_logins"))
    except FileNotFoundError:
        return {}
    except ValidationError:
        # What pydantic tells would show secrets.
        raise InvalidInput.for_field(
            "registry_logins", "is no file of logins", given=str(path), hint=f"rm {path}"
        ) from None


def _write(path: Path, logins: dict[str, _Kept]) -> None:
    replace_private(path, _LOGINS.dump_json(logins, indent=1))
