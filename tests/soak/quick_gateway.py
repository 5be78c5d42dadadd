"""The gateway with leases of seconds, so that collections meet pushes all the time.

Its settings rightly refuse less than a minute: a soak would wait for hours. Run as a module, it is
``fleetwide registry serve``, with leases of as many seconds as ``SECONDS`` of the environment says.
"""

import os
from datetime import datetime, timedelta

from api.oci.gateway import Gateway
from fleetwide.cli.registry_server import serve
from fleetwide.settings import Settings
from fleetwide.store.session import Store

SECONDS = "SOAK_LEASE_SECONDS"
"""What leases last and reviews wait."""


def _seconds() -> timedelta:
    return timedelta(seconds=float(os.environ[SECONDS]))


def _lease(self: Gateway, now: datetime) -> datetime:
    return now + _seconds()


def _store(settings: Settings) -> Store:
    return Store.open(settings.database_url.get_secret_value(), _seconds())


def main() -> None:
    Gateway.lease = _lease  # type: ignore[method-assign]
    Store.from_settings = staticmethod(_store)  # type: ignore[method-assign]
    serve()


if __name__ == "__main__":
    main()
