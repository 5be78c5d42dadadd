"""Images of a state folder that the registry's index does not know."""

from datetime import UTC, datetime
from pathlib import Path

from fleetwide.dev.unindexed import REPOSITORIES, unindexed
from fleetwide.store import registry_repositories
from fleetwide.store.migrate import upgrade
from fleetwide.store.session import Store


def stored(state: Path, name: str, tag: str | None) -> None:
    tags = state / REPOSITORIES / name / "_manifests/tags"
    tags.mkdir(parents=True)
    if tag:
        (tags / tag).mkdir()


def test_a_new_state_folder_has_none(tmp_path: Path) -> None:
    assert unindexed(tmp_path) == []


def test_images_from_before_the_index_are_found_until_it_knows_them(tmp_path: Path) -> None:
    stored(tmp_path, "apps/hello", "1.0.0")
    stored(tmp_path, "apps/deep/er", "2")
    stored(tmp_path, "apps/empty", None)
    assert unindexed(tmp_path) == ["apps/deep/er", "apps/hello"]
    store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
    upgrade(store.engine)
    with store.write() as session:
        registry_repositories.ensure(session, "apps/hello", by="me", now=datetime.now(UTC))
    store.engine.dispose()
    assert unindexed(tmp_path) == ["apps/deep/er"]
