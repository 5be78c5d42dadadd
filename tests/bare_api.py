"""The API over an empty database, for what needs nothing else of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from starlette.testclient import TestClient

from api.app import create_app
from fleetwide.settings import Settings
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store

NOWHERE = "127.0.0.1:9"
"""A port that nobody listens on: the machine may have a platform of its own."""


@contextmanager
def bare_api(folder: Path, **more: Any) -> Iterator[TestClient]:
    """The API in this process; ``folder`` keeps its database. It asks nobody who they are."""
    given = {
        "temporal_address": NOWHERE,
        "registry_url": f"http://{NOWHERE}",
        "registry_auth": "off",
        "state_dir": folder / "state",
        "database_url": SecretStr(f"sqlite:///{folder}/fleetwide.db"),
        "object_store_url": f"file:{folder}/objects",
    }
    settings = Settings(**{**given, **more})
    store = Store.open(settings.database_url.get_secret_value())
    upgrade(store.engine)
    store.engine.dispose()
    with TestClient(create_app(settings)) as client:
        yield client
