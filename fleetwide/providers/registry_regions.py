"""The file of other regions and upstreams, and the connections to them."""

import os
from pathlib import Path
from threading import Lock
from typing import Self

from fleetwide.errors import InvalidInput, NotFound
from fleetwide.models.registry_regions import OtherRegistry, RegistryLogin, RegistryRegions
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from fleetwide.providers.watched_files import WatchedFile
from fleetwide.providers.yaml_files import read_yaml

HINT = "see docs/guides/registry-regions.md for what the file may say"


def read_regions(path: Path | None) -> RegistryRegions:
    """The regions of a YAML or JSON file; without a file this registry stands alone.

    Raises:
        InvalidInput: the file cannot be read, or something in it is wrong.
    """
    if path is None:
        return RegistryRegions()
    return read_yaml(path, RegistryRegions, "the registry's regions", HINT)


def credentials_of(login: RegistryLogin | None) -> Credentials | None:
    """Name and secret, the secret as its file or variable has it now.

    Raises:
        InvalidInput: there is no such file or variable; the message never has the secret.
    """
    if login is None:
        return None
    if login.password_env is not None:
        secret = os.environ.get(login.password_env)
        if secret is None:
            raise InvalidInput(f"the environment has no {login.password_env}", hint=HINT)
        return Credentials(login.username, secret)
    assert login.password_file is not None
    try:
        return Credentials(login.username, login.password_file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{login.password_file} cannot be read: {error}", hint=HINT) from error


class Regions:
    """Other registries by name, each with one pooled connection; safe to share between threads."""

    def __init__(self, path: Path | None) -> None:
        self._file = WatchedFile(path, read_regions)
        self._lock = Lock()
        self._clients: dict[tuple[str, Credentials | None], RegistryClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def current(self) -> RegistryRegions:
        """What the file says now.

        Raises:
            InvalidInput: it is gone or wrong.
        """
        return self._file.current()

    def region(self, name: str) -> RegistryClient:
        """The registry of a region.

        Raises:
            NotFound: the file has no such region.
            InvalidInput: the file is wrong, or the secret is not where it says.
        """
        regions = self.current().regions
        if name not in regions:
            known = ", ".join(sorted(regions)) or "none"
            raise NotFound(f"there is no registry region {name}; the file has {known}", hint=HINT)
        return self.client(regions[name])

    def client(self, place: OtherRegistry) -> RegistryClient:
        """A connection; a changed secret makes a new one.

        Raises:
            InvalidInput: the secret is not where the file says.
        """
        key = (place.address, credentials_of(place.login))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = RegistryClient(*key)
            return self._clients[key]
