"""Pushes, deletions and collections at the same time, with a real Distribution on the storage."""

from pathlib import Path

import pytest

from fleetwide.providers.distribution import RegistryClient
from tests.registry_index import blob
from tests.registry_shelf import ServedShelf, shelf
from tests.registry_stack import plain_distribution
from tests.soak.registry_gc import LEASE, Soak, soak

EVENTS = 1_000


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
