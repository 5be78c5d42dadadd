"""However short reviews may wait, nothing goes within a lease of being touched by a push."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import update

from fleetwide.models.registry_gc import Kept
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.settings import Settings
from fleetwide.store import registry_blobs
from fleetwide.store.registry_tables import BlobRow, ManifestRow, ReviewRow
from fleetwide.store.session import Store
from tests.registry_index import blob, image, index
from tests.registry_shelf import Shelf, now

pytestmark = pytest.mark.integration
APP = "apps/hello"
LEASE = timedelta(seconds=60)


@pytest.fixture
def box(database_url: str, tmp_path: Path) -> Iterator[Shelf]:
    """What a process opens whose settings let reviews wait for no time at all."""
    settings = Settings(
        database_url=SecretStr(database_url),
        registry_review_hours=0,
        registry_lease_seconds=int(LEASE.total_seconds()),
    )
    store = Store.from_settings(settings)
    yield Shelf(store, RegistryStorage(FolderTree(tmp_path)), tmp_path)
    store.engine.dispose()


def make_due(box: Shelf) -> None:
    """As if somebody with other settings had written the reviews."""
    with box.store.write() as session:
        session.exec(update(ReviewRow).values(review_after=now()))


def let_a_lease_pass(box: Shelf) -> None:
    with box.store.write() as session:
        for table in (BlobRow, ManifestRow):
            session.exec(update(table).values(touched_at=now() - LEASE))
    make_due(box)


def test_an_upload_is_safe_before_anybody_tells_of_it(box: Shelf) -> None:
    box.send(APP, "a")
    box.admit(APP, "a")
    let_a_lease_pass(box)
    with box.store.write() as session:  # nginx asks before Distribution stores it once more
        registry_blobs.keep(session, blob("a"), now=now())
    assert box.collect().kept == {Kept.FRESH: 1}
    assert box.stored("a") == {"a"}
    let_a_lease_pass(box)
    assert box.collect().blobs == 1
    assert box.stored("a") == set()


def test_an_image_is_safe_before_its_index_comes(box: Shelf) -> None:
    box.upload(APP, "config", "a")
    child = box.push(APP, image("a"))
    assert box.collect().reviewed == 0
    make_due(box)
    box.collect()
    box.push(APP, index(child), "v1")
    let_a_lease_pass(box)
    assert box.collect().manifests == 0
    assert box.faults() == []
