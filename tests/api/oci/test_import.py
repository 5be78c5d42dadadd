"""Taking an existing Distribution's repositories into the index."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session, col, func, select

from fleetwide.store.migrate import upgrade
from fleetwide.store.registry_tables import BlobRow, ManifestRow, TagRow
from fleetwide.store.session import Store
from tests.conformance.client import Registry
from tests.oci_objects import Manifest, artifact, digest_of, image, index
from tests.platforms import eventually
from tests.registry_stack import FLEETWIDE, Stack, StackOptions, free_port, registry_stack

pytestmark = pytest.mark.integration


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Stack]:
    """A registry whose index is empty, before a Distribution that can be pushed to."""
    options = StackOptions(plane="redirect", backend_port=free_port())
    with registry_stack(tmp_path, options) as stack:
        yield stack


@pytest.fixture
def behind(old: Stack) -> Iterator[Registry]:
    client = Registry(old.distribution.url.removesuffix("/v2/"))
    with client.http:
        yield client


@pytest.fixture
def front(old: Stack) -> Iterator[Registry]:
    client = Registry(old.url)
    with client.http:
        yield client


def count(session: Session, row: type[TagRow | ManifestRow | BlobRow]) -> int:
    return session.exec(select(func.count()).select_from(row)).one()


def test_all_that_is_tagged_can_be_pulled_in_front(
    old: Stack, behind: Registry, front: Registry
) -> None:
    single, child = image(layers=2), image()
    several = index(child)
    behind.push("apps/single", single, ["1", "latest"])
    behind.push("apps/several", several, ["1"])
    assert front.get("apps/single", "1").status_code == 404

    assert "3 tags of 2 repositories imported" in old.fleetwide("registry", "import")
    assert front.get("apps/single", "latest").content == single.data
    assert front.get("apps/several", "1").content == several.data
    assert front.get("apps/several", child.digest).content == child.data
    layer = digest_of(single.blobs[1])
    assert front.call("GET", f"apps/single/blobs/{layer}").content == single.blobs[1]


def test_a_second_import_changes_nothing_and_a_third_takes_what_is_new(
    old: Stack, behind: Registry, front: Registry
) -> None:
    behind.push("apps/one", image(), ["1"])
    old.fleetwide("registry", "import")
    assert "0 tags of 1 repositories imported" in old.fleetwide("registry", "import")
    new = image()
    behind.push("apps/one", new, ["2"])
    assert "1 tags" in old.fleetwide("registry", "import", "apps/one")
    assert front.get("apps/one", "2").content == new.data


def test_what_the_index_says_of_a_tag_stays(old: Stack, behind: Registry, front: Registry) -> None:
    first, moved = image(), image()
    behind.push("apps/one", first, ["moved", "gone"])
    old.fleetwide("registry", "import")
    front.push("apps/one", moved, ["latest"])
    assert front.call("DELETE", "apps/one/manifests/gone").status_code == 202
    behind.put("apps/one", "latest", first)
    assert "0 tags" in old.fleetwide("registry", "import")
    assert front.get("apps/one", "latest").content == moved.data
    assert front.get("apps/one", "gone").status_code == 404


def test_lists_of_referrers_under_fallback_tags_become_referrers(
    old: Stack, behind: Registry, front: Registry
) -> None:
    made = image()
    behind.push("apps/one", made, ["1"])
    report = artifact("application/vnd.example.report", subject=made.descriptor())
    listed = index(report)
    behind.push("apps/one", listed, [made.digest.replace(":", "-")])
    old.fleetwide("registry", "import")
    found = front.referrers("apps/one", made.digest)
    assert [one["digest"] for one in found] == [report.digest]
    assert found[0]["artifactType"] == "application/vnd.example.report"


def test_what_is_broken_is_told_and_the_rest_comes(
    old: Stack, behind: Registry, front: Registry
) -> None:
    whole, broken = image(), image()
    behind.push("apps/one", whole, ["whole"])
    behind.push("apps/one", broken, ["broken"])
    lost = digest_of(broken.blobs[1])
    digits = lost.removeprefix("sha256:")
    data = old.storage / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    data.unlink()
    done = run(old, "registry", "import")
    assert done.returncode == 1
    assert f"apps/one:broken: blob {lost} is missing" in done.stderr
    assert "1 tags" in done.stdout
    assert front.get("apps/one", "whole").content == whole.data


def test_an_import_that_was_killed_goes_on(old: Stack, behind: Registry, front: Registry) -> None:
    images: list[Manifest] = [image() for _ in range(12)]
    for number, one in enumerate(images):
        behind.push("apps/many", one, [f"v{number:02}"])
    command = [str(FLEETWIDE), "registry", "import"]
    store = old.store()
    running = subprocess.Popen(command, env={**os.environ, **old.environment})
    try:
        eventually(lambda: tags_of(store) >= 2, what="the first imported tags")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    old.fleetwide("registry", "import")
    with store.read() as session:
        assert count(session, TagRow) == len(images)
        assert count(session, ManifestRow) == len(images)
        assert count(session, BlobRow) == 2 * len(images)
    store.engine.dispose()
    assert front.get("apps/many", "v11").content == images[11].data


def tags_of(store: Store) -> int:
    with store.read() as session:
        return len(session.exec(select(TagRow).where(col(TagRow.ended_at).is_(None))).all())


def run(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [FLEETWIDE, *arguments],
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_distribution_that_does_not_answer_is_said(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/index.db"
    store = Store.open(database)
    upgrade(store.engine)
    store.engine.dispose()
    nobody = f"http://127.0.0.1:{free_port()}"
    done = subprocess.run(
        [FLEETWIDE, "registry", "import", "--from", nobody],
        env={**os.environ, "FLEETWIDE_DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "does not answer" in done.stderr
