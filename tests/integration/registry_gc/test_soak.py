"""Pushes, deletions and collections at the same time, with a real Distribution on the storage."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from fleetwide.providers.distribution import RegistryClient
from tests.registry_index import blob
from tests.registry_shelf import ServedShelf, shelf
from tests.registry_stack import plain_distribution
from tests.soak.registry_gc import LEASE, Soak, database, soak
from tests.soak.registry_http import served
from tests.soak.registry_wire import Unexpected

EVENTS = 1_000
OVER_HTTP = 500
SHORT = timedelta(seconds=3)


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_nothing_that_was_pushed_is_lost(database_url: str, tmp_path: Path) -> None:
    with (
        plain_distribution(tmp_path) as service,
        shelf(database_url, tmp_path / "storage", delay=LEASE) as box,
    ):
        with RegistryClient(service.url.removesuffix("/v2/")) as client:
            served = ServedShelf(box.store, box.storage, box.root, lease=LEASE, client=client)
            done = soak(Soak(served, EVENTS))
    assert done.faults == []
    assert done.counts["push"] > 0
    assert done.counts["collection"] > 0


def test_what_the_soak_looks_for_is_noticed(database_url: str, tmp_path: Path) -> None:
    """It can fail: with bytes taken away behind its back, it says so."""
    with shelf(database_url, tmp_path, lease=LEASE) as box:
        box.upload("soak/app0", "layer0")
        assert box.faults() == []
        box.storage.remove_blob(blob("layer0"))
        assert box.faults() != []


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_whole_registry_loses_nothing_and_keeps_nothing(
    database_url: str, tmp_path: Path
) -> None:
    with served(tmp_path, database_url, clients=4, lease=SHORT) as running:
        running.run(OVER_HTTP, time.monotonic() + 200, lambda _: None)
    assert running.faults == []
    assert running.counts["pull"] > 0
    assert running.counts["collected blobs"] > 0


@pytest.mark.integration
def test_a_soak_over_http_notices_what_is_lost(tmp_path: Path) -> None:
    with (
        database(tmp_path, postgresql=False) as url,
        served(tmp_path, url, clients=1, lease=SHORT) as running,
    ):
        client = running.clients[0]
        client.act()
        client.check()
        for path in (tmp_path / "storage").glob("docker/registry/v2/blobs/*/*/*/data"):
            path.write_bytes(b"other bytes")
        with pytest.raises(Unexpected, match="came with other bytes"):
            client.check()
