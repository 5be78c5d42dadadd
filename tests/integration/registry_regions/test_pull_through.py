"""Repositories of an upstream, fetched when they are asked for."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import yaml

from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_copies import Place
from fleetwide.registry.oci import ACCEPTED_TYPES
from tests.counting_proxy import CountingProxy, counting_proxy
from tests.integration.registry_regions.conftest import assert_whole, push
from tests.oci_objects import Manifest, digest_of, image, index
from tests.registry_stack import PASSWORD, Stack, StackOptions, free_port, registry_stack

pytestmark = pytest.mark.integration

QUOTA = 500_000
"""Bytes that the namespace ``small`` may hold."""
ACCEPT = {"Accept": ", ".join(ACCEPTED_TYPES)}


@pytest.fixture(scope="module")
def upstream(far: Stack) -> Iterator[CountingProxy]:
    with counting_proxy(far.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def mirror(upstream: CountingProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A registry that fetches ``mirror/NAME`` and others alike from ``apps/NAME`` of another."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "secret").write_text(PASSWORD)
    login = {"username": "admin", "password_file": str(folder / "secret")}
    place = {"url": upstream.url, "login": login, "repository": "apps"}
    document = {
        "upstreams": {
            "mirror": {**place, "tag_seconds": 3600},
            "brief": {**place, "tag_seconds": 0},
            "small": place,
        }
    }
    file = folder / "regions.yaml"
    file.write_text(yaml.safe_dump(document))
    policy = folder / "policy.yaml"
    policy.write_text(yaml.safe_dump({"quotas": {"small": QUOTA}}))
    environment = {
        "FLEETWIDE_REGISTRY_REGIONS": str(file),
        "FLEETWIDE_REGISTRY_POLICY": str(policy),
    }
    options = StackOptions(plane="nginx", environment=environment)
    with registry_stack(folder, options) as made:
        yield made


@pytest.fixture
def client(mirror: Stack) -> Iterator[RegistryClient]:
    with RegistryClient(mirror.url) as made:
        yield made


def name_of(place: Place) -> str:
    return place.repository.removeprefix("apps/")


def soon(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def recorded(mirror: Stack, repository: str, made: Manifest) -> bool:
    """Distribution has the manifest: all of the image is here."""
    url = f"{mirror.distribution.url}{repository}/manifests/{made.digest}"
    return httpx2.get(url, headers=ACCEPT).status_code == 200


def test_an_image_is_fetched_once_and_stays(
    there: Place, client: RegistryClient, mirror: Stack, upstream: CountingProxy
) -> None:
    made = image(2, size=200_000)
    push(there, made, "1.0")
    here = Place(client, f"mirror/{name_of(there)}")
    assert here.tag("1.0") == made.digest
    assert_whole(here, made)
    soon(lambda: recorded(mirror, here.repository, made))
    sent = upstream.sent
    assert_whole(here, made)
    assert here.tag("1.0") == made.digest
    assert upstream.sent == sent
    assert client.list_tags(here.repository) == ["1.0"]


def test_of_an_index_only_what_is_asked_for_is_fetched(
    there: Place, client: RegistryClient, upstream: CountingProxy
) -> None:
    wanted, other = image(size=50_000), image(size=400_000)
    made = index(wanted, other)
    push(there, made, "1.0")
    sent = upstream.sent
    here = Place(client, f"mirror/{name_of(there)}")
    assert here.tag("1.0") == made.digest
    assert_whole(here, wanted)
    soon(lambda: client.list_tags(here.repository) == ["1.0"])
    assert upstream.sent - sent < 200_000


def test_many_who_ask_at_once_make_one_fetch(
    there: Place, mirror: Stack, upstream: CountingProxy
) -> None:
    """Through two gateways."""
    made = image(1, size=8_000_000)
    push(there, made, "1.0")
    layer = digest_of(made.blobs[1])
    port = free_port()
    second = dataclasses.replace(
        mirror.gateway,
        url=f"http://127.0.0.1:{port}/v2/",
        log=mirror.gateway.log.with_name("second.log"),
        environment={**mirror.gateway.environment, "FLEETWIDE_REGISTRY_PORT": str(port)},
        process=None,
    )
    path = f"mirror/{name_of(there)}/blobs/{layer}"
    urls = [f"{one.url}{path}" for one in (mirror.gateway, second)] * 8
    with ExitStack() as ends:
        ends.callback(second.kill)
        second.start()
        sent = upstream.sent
        with ThreadPoolExecutor(len(urls)) as threads:
            answers = list(threads.map(lambda url: httpx2.head(url, timeout=60.0), urls))
    assert {answer.status_code for answer in answers} == {200}
    assert upstream.sent - sent < 1.2 * len(made.blobs[1])


def test_a_tag_is_asked_for_again_when_its_time_is_over(
    there: Place, client: RegistryClient
) -> None:
    old, new = image(), image()
    push(there, old, "latest")
    slow, quick = (Place(client, f"{kind}/{name_of(there)}") for kind in ("mirror", "brief"))
    assert slow.tag("latest") == quick.tag("latest") == old.digest
    push(there, new, "latest")
    assert quick.tag("latest") == new.digest
    assert slow.tag("latest") == old.digest


def test_the_old_answer_is_served_with_a_warning_while_the_upstream_is_away(
    there: Place, client: RegistryClient, mirror: Stack, upstream: CountingProxy
) -> None:
    made = image()
    push(there, made, "1.0")
    here = Place(client, f"brief/{name_of(there)}")
    assert here.tag("1.0") == made.digest
    soon(lambda: recorded(mirror, here.repository, made))
    url = f"{mirror.url}/v2/{here.repository}/manifests/"
    upstream.go_deaf()
    try:
        old = httpx2.get(f"{url}1.0", headers=ACCEPT, timeout=30.0)
        unknown = httpx2.get(f"{url}2.0", headers=ACCEPT, timeout=30.0)
        assert_whole(here, made)
    finally:
        upstream.deaf = False
    assert old.status_code == 200
    assert "upstream" in old.headers["Warning"]
    assert unknown.status_code == 503
    assert "Retry-After" in unknown.headers
    assert "Warning" not in httpx2.get(f"{url}1.0", headers=ACCEPT).headers


def test_what_a_full_namespace_has_no_room_for_is_refused_and_not_fetched(
    there: Place, client: RegistryClient, mirror: Stack, upstream: CountingProxy
) -> None:
    fits, exceeds = image(size=300_000), image(size=300_000)
    push(there, fits, "fits")
    push(there, exceeds, "exceeds")
    here = Place(client, f"small/{name_of(there)}")
    assert here.tag("fits") == fits.digest
    assert_whole(here, fits)
    soon(lambda: recorded(mirror, here.repository, fits))
    sent = upstream.sent
    url = f"{mirror.url}/v2/{here.repository}"
    layer = digest_of(exceeds.blobs[1])
    for path in ("manifests/exceeds", f"manifests/{exceeds.digest}", f"blobs/{layer}"):
        answer = httpx2.get(f"{url}/{path}", headers=ACCEPT, timeout=30.0)
        assert answer.status_code == 403
        (error,) = answer.json()["errors"]
        assert error["code"] == "DENIED"
        assert "the namespace small holds" in error["message"]
    assert upstream.sent - sent < 50_000
    # What is here already goes on being served.
    assert_whole(here, fits)
    assert here.tag("fits") == fits.digest


def test_what_the_upstream_does_not_have_is_not_here(
    there: Place, client: RegistryClient, mirror: Stack
) -> None:
    here = Place(client, f"mirror/{name_of(there)}")
    assert here.tag("1.0") is None
    assert not here.has_blob(digest_of(b"nothing"))
    listed = httpx2.get(f"{mirror.url}/v2/_catalog").json()["repositories"]
    assert here.repository not in listed


def test_nobody_pushes_into_a_mirror(client: RegistryClient, mirror: Stack) -> None:
    made = image()
    url = f"{mirror.url}/v2/mirror/own"
    for answer in (
        httpx2.post(f"{url}/blobs/uploads/"),
        httpx2.put(
            f"{url}/manifests/1", content=made.data, headers={"Content-Type": made.media_type}
        ),
    ):
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["code"] == "DENIED"
    push(Place(client, "mirrored/own"), made, "1")


def test_a_file_that_goes_wrong_keeps_nobody_from_pulling(
    there: Place, client: RegistryClient, mirror: Stack
) -> None:
    made, own = image(), image()
    push(there, made, "1.0")
    kept = Place(client, "apps/own")
    push(kept, own, "1.0")
    file = Path(mirror.environment["FLEETWIDE_REGISTRY_REGIONS"])
    right = file.read_text()
    file.write_text("upstreams: [")
    try:
        assert_whole(kept, own)
        assert_whole(Place(client, f"mirror/{name_of(there)}"), made)
    finally:
        file.write_text(right)


def test_a_fetch_that_breaks_off_leaves_nothing_and_is_made_again(
    there: Place, client: RegistryClient, mirror: Stack, upstream: CountingProxy
) -> None:
    made = image(1, size=30_000_000)
    push(there, made, "1.0")
    layer = digest_of(made.blobs[1])
    here = Place(client, f"mirror/{name_of(there)}")
    url = f"{mirror.url}/v2/{here.repository}/blobs/{layer}"
    sent = upstream.sent
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(lambda: httpx2.head(url, timeout=60.0))
        soon(lambda: upstream.sent - sent > 4_000_000)
        upstream.hang_up()
        assert first.result().status_code == 503
    assert here.has_blob(layer)
    with client.stream_blob(here.repository, layer) as pieces:
        assert b"".join(pieces) == made.blobs[1]
