"""A bake that came to nothing takes away its own image, and none that its key has in the books."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from activities import bakes as builder
from activities.bakes import BakeActivities
from fleetwide.bakery.outcome import BakeParts, image_of
from fleetwide.models.bakes import (
    BakedImage,
    BuiltLayer,
    PublishedBake,
    PushedBake,
    ResolvedBake,
    WithdrawBake,
)
from fleetwide.models.base import Layer
from fleetwide.settings import Settings
from fleetwide.store import bakes, images
from fleetwide.store.session import Store
from tests.unit.bakes import resolved

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FIRST, SECOND, THIRD = (f"sha256:{digit * 64}" for digit in "123")
BUILT = BuiltLayer(
    layer=Layer(digest="sha256:" + "e" * 64, diff_id="sha256:" + "f" * 64, size=1),
    uncompressed_size=1,
    entries=1,
    rebaseable=True,
    build_seconds=1,
)


def image(bake: ResolvedBake, digest: str) -> BakedImage:
    published = PublishedBake(pushed=PushedBake(digest=digest, size=1, metadata={}))
    return image_of(bake, BakeParts(built=BUILT), published, "bake/x", NOW)


def test_a_forced_bake_knows_every_manifest_that_its_key_has_had(
    tmp_path: Path, sqlite_template: Path
) -> None:
    file = tmp_path / "test.db"
    file.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{file}")
    for digest in (FIRST, SECOND):
        bake = resolved(rebake=True)
        with store.write() as session:
            bake = bakes.with_dependencies(session, bake, [])
            images.save(session, bake, image(bake, digest), now=NOW)
    with store.read() as session:
        assert bakes.with_dependencies(session, bake, []).known_digests == [FIRST, SECOND]
        assert bakes.with_dependencies(session, resolved(), []).known_digests == []
    store.engine.dispose()


@pytest.mark.parametrize(
    ("made", "deleted"), [(FIRST, []), (SECOND, []), (THIRD, [("bakes/hello", THIRD)])]
)
def test_a_withdrawn_bake_spares_earlier_manifests_of_its_key(
    made: str, deleted: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(builder_dir=tmp_path)
    gone: list[tuple[str, str]] = []
    registry = SimpleNamespace(delete_manifest=lambda *what: gone.append(what))
    objects = SimpleNamespace(delete=lambda _key: None)
    planned = SimpleNamespace(documents=SimpleNamespace(digest=made))
    monkeypatch.setattr(builder, "plan_bake", lambda *_: planned)
    bake = resolved(rebake=True).model_copy(update={"repository": "bakes/hello"})
    cached = {"cached": image(bake, SECOND), "known_digests": [FIRST, SECOND]}
    request = WithdrawBake(bake=bake.model_copy(update=cached), built=BUILT)
    activities = BakeActivities(settings, cast("Any", registry), cast("Any", objects))
    ActivityEnvironment().run(activities.withdraw, request)
    assert gone == deleted
