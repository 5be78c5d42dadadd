"""Taking an existing Distribution's repositories into the index."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from sqlmodel import col, select

from fleetwide.providers.backend import Backend
from fleetwide.providers.registry_import import RegistryImport
from fleetwide.registry.imports import ImportReport
from fleetwide.store import registry_repositories
from fleetwide.store.registry_tables import TagRow
from fleetwide.store.session import Store
from tests.conformance.client import Registry
from tests.oci_objects import artifact, digest_of, image, index
from tests.platforms import eventually
from tests.registry_stack import FLEETWIDE, Stack, free_port

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def behind(gateway: Stack) -> Iterator[Registry]:
    """Distribution itself: what is pushed there, the index does not know."""
    client = Registry(gateway.distribution.url.removesuffix("/v2/"))
    with client.http:
        yield client


def take(stack: Stack, name: str) -> ImportReport:
    """Import one repository, as the CLI does."""

    async def run(store: Store) -> ImportReport:
        async with Backend(stack.environment["FLEETWIDE_REGISTRY_BACKEND_URL"]) as backend:
            return await RegistryImport(backend, store).repository(name)

    store = stack.store()
    try:
        return asyncio.run(run(store))
    finally:
        store.engine.dispose()


def run(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [FLEETWIDE, "registry", "import", *arguments],
        env={**os.environ, **stack.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_all_that_is_tagged_can_be_pulled_in_front(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    single, child = image(layers=2), image()
    several = index(child)
    behind.push("old/single", single, ["1", "latest"])
    behind.push("old/several", several, ["1"])
    assert registry.get("old/single", "1").status_code == 404

    report = take(gateway, "old/single")
    report.add(take(gateway, "old/several"))
    assert (report.tags, report.manifests, report.fault_count) == (3, 3, 0)
    assert registry.get("old/single", "latest").content == single.data
    assert registry.get("old/several", "1").content == several.data
    assert registry.get("old/several", child.digest).content == child.data
    layer = digest_of(single.blobs[1])
    assert registry.call("GET", f"old/single/blobs/{layer}").content == single.blobs[1]


def test_a_second_import_changes_nothing_and_a_third_takes_what_is_new(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    behind.push("old/again", image(), ["1"])
    assert take(gateway, "old/again").tags == 1
    again = take(gateway, "old/again")
    assert (again.tags, again.known, again.manifests, again.blobs) == (0, 1, 0, 0)
    new = image()
    behind.push("old/again", new, ["2"])
    assert take(gateway, "old/again").tags == 1
    assert registry.get("old/again", "2").content == new.data


def test_what_the_index_says_of_a_tag_stays(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    first, moved = image(), image()
    behind.push("old/moved", first, ["latest", "gone"])
    take(gateway, "old/moved")
    registry.push("old/moved", moved, ["latest"])
    assert registry.call("DELETE", "old/moved/manifests/gone").status_code == 202
    behind.put("old/moved", "latest", first)
    assert take(gateway, "old/moved").tags == 0
    assert registry.get("old/moved", "latest").content == moved.data
    assert registry.get("old/moved", "gone").status_code == 404


def test_lists_of_referrers_under_fallback_tags_become_referrers(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    made = image()
    behind.push("old/referred", made, ["1"])
    report = artifact("application/vnd.example.report", subject=made.descriptor())
    behind.push("old/referred", index(report), [made.digest.replace(":", "-")])
    take(gateway, "old/referred")
    found = registry.referrers("old/referred", made.digest)
    assert [one["digest"] for one in found] == [report.digest]
    assert found[0]["artifactType"] == "application/vnd.example.report"


def test_what_is_broken_is_told_and_the_rest_comes(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    whole, broken = image(), image()
    behind.push("old/broken", whole, ["whole"])
    behind.push("old/broken", broken, ["broken"])
    lost = digest_of(broken.blobs[1])
    digits = lost.removeprefix("sha256:")
    data = gateway.storage / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    data.unlink()
    done = run(gateway, "old/broken")
    assert done.returncode == 1
    assert f"old/broken:broken: blob {lost} is missing" in done.stderr
    assert "1 tags of 1 repositories imported" in done.stdout
    assert registry.get("old/broken", "whole").content == whole.data


def test_an_import_that_was_killed_goes_on(
    gateway: Stack, behind: Registry, registry: Registry
) -> None:
    images = [image() for _ in range(12)]
    for number, one in enumerate(images):
        behind.push("old/many", one, [f"v{number:02}"])
    store = gateway.store()
    command = [str(FLEETWIDE), "registry", "import", "old/many"]
    running = subprocess.Popen(command, env={**os.environ, **gateway.environment})
    try:
        eventually(lambda: len(tags(store, "old/many")) >= 2, what="the first imported tags")
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    take(gateway, "old/many")
    assert tags(store, "old/many") == [f"v{number:02}" for number in range(12)]
    store.engine.dispose()
    for number, one in enumerate(images):
        assert registry.get("old/many", f"v{number:02}").content == one.data


def tags(store: Store, name: str) -> list[str]:
    with store.read() as session:
        row = registry_repositories.find(session, name)
        query = select(TagRow.name).where(TagRow.repository_id == row.id) if row else None
        return [] if query is None else list(session.exec(query.order_by(col(TagRow.name))))


def test_a_distribution_that_does_not_answer_is_said(gateway: Stack) -> None:
    done = run(gateway, "--from", f"http://127.0.0.1:{free_port()}")
    assert done.returncode != 0
    assert "does not answer" in done.stderr
