"""Images on hosts before a job: the registry sends them a few times, however many hosts there are."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from uuid import uuid4

import docker
import httpx2
import pytest
from temporalio.testing import WorkflowEnvironment

from activities.registry_preheat import HostPreheatActivities, PreheatPlanActivities
from fleetwide.errors import Denied, FleetwideError, RegistryUnavailable
from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.models.registry_access import AccountSpec
from fleetwide.models.registry_preheat import PreheatOutcome, PreheatSpec, WarmedHost
from fleetwide.providers import image_fetches
from fleetwide.providers.blob_cache import BlobCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_fetches import Fetch, Sharing
from fleetwide.providers.registry_auth import Credentials
from fleetwide.providers.registry_copies import Place
from fleetwide.providers.registry_peers import Peer, peer_server
from fleetwide.providers.registry_shares import Shares, ask_key
from fleetwide.registry.accounts import hash_secret
from fleetwide.registry.preheat import Spread
from fleetwide.registry.references import ImageReference
from fleetwide.registry.sharing import ShareKey, Together
from fleetwide.store import hosts, registry_accounts, registry_preheats
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.counting_proxy import CountingProxy, counting_proxy
from tests.integration.registry_regions.conftest import ADMIN, push
from tests.integration.registry_regions.dockers import own_dockerd
from tests.oci_objects import Manifest, digest_of, image
from tests.registry_stack import Stack
from workers.registry import WORKFLOWS

pytestmark = pytest.mark.integration

LIMIT = 10**9
SECRET = b"what the hosts of the pre-heat know"


@pytest.fixture
def registry(far: Stack) -> Iterator[CountingProxy]:
    """The registry, with its bytes counted."""
    with counting_proxy(far.url) as proxy:
        yield proxy


@contextmanager
def sharing_host(folder: Path) -> Iterator[Sharing]:
    cache, shares = BlobCache(folder, LIMIT), Shares()
    with peer_server(cache, ("127.0.0.1", 0), shares) as port:
        yield Sharing(cache, shares, f"http://127.0.0.1:{port}")


@pytest.fixture
def known_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts take part, without accounts of hosts."""

    def ask(_registry: RegistryClient, together: Together) -> ShareKey:
        return ShareKey(SECRET + together.mark.encode(), monotonic() + 600)

    monkeypatch.setattr(image_fetches, "ask_key", ask)


def warm(
    proxy: CountingProxy, sharing: Sharing, place: Place, digest: str, peer: str | None
) -> WarmedHost:
    together = Together("preheat/1", place.repository, digest)
    with RegistryClient(proxy.url, ADMIN) as client:
        fetch = Fetch(uuid4().hex, client, sharing, together)
        _, parsed = fetch.manifests(ImageReference(place.repository, digest=digest))
        return fetch.blobs(parsed, peer)


def warm_all(
    proxy: CountingProxy, shared: dict[str, Sharing], place: Place, digest: str
) -> list[WarmedHost]:
    """As the workflow does it."""
    spread = Spread(shared, seeds=2, fan_out=3)
    done: list[WarmedHost] = []
    with ThreadPoolExecutor(len(shared)) as threads:
        running: dict[Future[WarmedHost], object] = {}
        while True:
            while (step := spread.next()) is not None:
                job = threads.submit(warm, proxy, shared[step.host], place, digest, step.peer)
                running[job] = step
            if not running:
                return done
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                ended = running.pop(job)
                done.append(job.result())
                spread.ended(ended, job.result().peer_url)  # type: ignore[arg-type]


def blob_bytes(made: Manifest) -> int:
    return sum(len(blob) for blob in made.blobs)


@pytest.mark.usefixtures("known_key")
def test_what_the_registry_sends_does_not_grow_with_the_hosts(
    there: Place, registry: CountingProxy, tmp_path: Path
) -> None:
    made = image(3, size=2_000_000)
    push(there, made)
    size = blob_bytes(made)
    with ExitStack() as stack:
        shared = {
            f"h{number}": stack.enter_context(sharing_host(tmp_path / f"{number}"))
            for number in range(12)
        }
        warmed = warm_all(registry, shared, there, made.digest)
        with_peers = registry.sent
        for sharing in shared.values():
            for blob in made.blobs:
                path = sharing.cache.find(digest_of(blob))
                assert path is not None
                assert path.read_bytes() == blob
    assert sum(host.bytes_registry for host in warmed) == 2 * size
    assert sum(host.bytes_peers for host in warmed) == 10 * size
    # Twice the blobs, and for each host the manifest, a token and headers.
    assert with_peers < 2 * size + 12 * 16_000
    alone = [Sharing(BlobCache(tmp_path / f"alone-{number}", LIMIT)) for number in range(12)]
    for sharing in alone:
        warm(registry, sharing, there, made.digest, None)
    assert registry.sent - with_peers > 12 * size


@contextmanager
def lying_peer() -> Iterator[str]:
    """Answers any request for a blob with other bytes of its own."""

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"not yours")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("known_key")
@pytest.mark.parametrize("kind", ["lies", "is dead", "has nothing"])
def test_a_bad_peer_costs_a_retry_at_the_registry(
    there: Place, registry: CountingProxy, tmp_path: Path, kind: str
) -> None:
    made = image(2)
    push(there, made)
    with lying_peer() as liar, sharing_host(tmp_path / "empty") as empty:
        assert empty.url is not None
        peer = {"lies": liar, "is dead": "http://127.0.0.1:1", "has nothing": empty.url}[kind]
        with sharing_host(tmp_path / "host") as sharing:
            warmed = warm(registry, sharing, there, made.digest, peer)
    assert len(warmed.faults) == 1
    assert warmed.bytes_registry == blob_bytes(made)
    assert warmed.bytes_peers == 0


@pytest.mark.usefixtures("known_key")
def test_a_peer_serves_nobody_who_takes_no_part(
    there: Place, registry: CountingProxy, tmp_path: Path
) -> None:
    made, other = image(), image()
    push(there, made)
    push(there, other)
    blob = digest_of(made.blobs[0])
    with sharing_host(tmp_path) as sharing:
        assert sharing.url is not None
        for one in (made, other):
            warm(registry, sharing, there, one.digest, None)
        url = f"{sharing.url}/blobs/{blob}"
        assert httpx2.get(url).status_code == 403
        forged = {"Authorization": f"Fleetwide {2**31}.{'0' * 64}"}
        assert httpx2.get(url, headers=forged).status_code == 403
        assert httpx2.get(f"{sharing.url}/blobs/../../etc/passwd").status_code == 404
        # Who takes part in the pre-heat of another image has a key, and it is no good here.
        mine = Together("preheat/1", there.repository, other.digest)
        theirs = Together("preheat/1", there.repository, made.digest)
        key = SECRET + mine.mark.encode()
        for together, wanted in ((mine, blob), (theirs, blob)):
            peer = Peer(sharing.url, together, key)
            with pytest.raises(RegistryUnavailable, match="403"), peer.stream(wanted, 1):
                pass
        own = digest_of(other.blobs[0])
        with Peer(sharing.url, mine, key).stream(own, len(other.blobs[0])) as pieces:
            assert b"".join(pieces) == other.blobs[0]


def key_of(url: str, login: Credentials, together: Together) -> ShareKey:
    with RegistryClient(url, login) as client:
        return ask_key(client, together)


def test_the_registry_tells_the_key_to_the_hosts_of_the_pre_heat_alone(
    far: Stack, there: Place
) -> None:
    store = far.store()
    names = [f"{there.repository.rpartition('/')[2]}-{number}" for number in range(3)]
    one, two, stolen = (account_of(store, name) for name in names)
    together = Together("preheat/keys", there.repository, digest_of(b"image"))
    now = datetime.now(UTC)
    with store.write() as session:
        for preheat, hosts_of_it in ((together.preheat, names[:2]), ("preheat/own", names[2:])):
            registry_preheats.grant(
                session,
                preheat,
                ImageReference(there.repository, digest=together.digest),
                hosts_of_it,
                now=now,
                until=now + timedelta(minutes=5),
            )
    key = key_of(far.url, one, together)
    assert monotonic() + 200 < key.until < monotonic() + 300
    assert key_of(far.url, two, together).secret == key.secret
    own = Together("preheat/own", there.repository, together.digest)
    assert key_of(far.url, stolen, own).secret != key.secret
    for login in (stolen, ADMIN):
        with pytest.raises(Denied, match="takes no part"):
            key_of(far.url, login, together)
    with store.write() as session:
        registry_preheats.revoke(session, together.preheat)
    with pytest.raises(FleetwideError):
        key_of(far.url, two, together)
    store.engine.dispose()


def test_a_full_cache_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 2500)
    blobs = [bytes([number]) * 1000 for number in range(3)]
    for blob in blobs[:2]:
        cache.put(digest_of(blob), [blob], len(blob))
    assert cache.find(digest_of(blobs[0])) is not None
    with cache.keeping([digest_of(blobs[0])]):
        cache.put(digest_of(blobs[2]), [blobs[2]], 1000)
    found = [cache.find(digest_of(blob)) is not None for blob in blobs]
    assert found == [True, False, True]


def names_of_images(engine: ContainerHost) -> list[str]:
    api = docker.APIClient(base_url=engine._docker_url)
    try:
        return [name for one in api.images() for name in one["RepoDigests"]]
    finally:
        api.close()


def add_host(store: Store, name: str) -> Credentials:
    """A host that takes work, and its account at the registry."""
    offer = HostSpec.model_validate({"host_id": name, "cpu": 1, "memory": "1GiB"})
    with store.write() as session:
        hosts.register(session, offer, now=datetime.now(UTC))
    return account_of(store, name)


def account_of(store: Store, name: str) -> Credentials:
    """A host's account at the registry."""
    login = Credentials(f"host/{name}", uuid4().hex)
    with store.write() as session:
        account, deed = AccountSpec(name=login.username), Deed("tests", datetime.now(UTC))
        registry_accounts.create(session, account, hash_secret(login.password), deed)
    return login


@pytest.fixture
def told_keys(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What hosts are told as keys."""
    told: list[bytes] = []

    def ask(registry: RegistryClient, together: Together) -> ShareKey:
        key = ask_key(registry, together)
        told.append(key.secret)
        return key

    monkeypatch.setattr(image_fetches, "ask_key", ask)
    return told


async def test_hosts_have_the_image_from_each_other_with_accounts_of_their_own(
    temporal: WorkflowEnvironment,
    far: Stack,
    there: Place,
    registry: CountingProxy,
    tmp_path: Path,
    told_keys: list[bytes],
) -> None:
    made = image(3, size=3_000_000)
    push(there, made, "1.0")
    names = ("one", "two")
    async with AsyncExitStack() as stack:
        store: Store = far.store()
        stack.callback(store.engine.dispose)
        client = stack.enter_context(RegistryClient(registry.url, ADMIN))
        engines, logins = [], [add_host(store, name) for name in names]
        for name, login in zip(names, logins, strict=True):
            (tmp_path / name).mkdir()
            url = stack.enter_context(own_dockerd(tmp_path / name))
            engine = ContainerHost(
                url, registry.url, host_id=name, platform=name, credentials=login
            )
            stack.callback(engine.close)
            sharing = stack.enter_context(sharing_host(tmp_path / name / "blobs"))
            puller = stack.enter_context(RegistryClient(registry.url, login))
            activities = HostPreheatActivities(engine, puller, sharing)
            role = WorkerRole(host_task_queue(name), activities=[activities.warm_host])
            await stack.enter_async_context(make_worker(temporal.client, role))
            engines.append(engine)
        plans = PreheatPlanActivities(store, client)
        role = WorkerRole("control", WORKFLOWS, [plans.plan_preheat, plans.take_rights])
        await stack.enter_async_context(make_worker(temporal.client, role))
        spec = PreheatSpec(reference=f"{there.repository}:1.0", seeds=1)
        handle = await temporal.client.start_workflow(
            "ImagePreheat", spec, id="preheat/1", task_queue="control"
        )
        outcome = PreheatOutcome.model_validate(await handle.result())
        assert outcome.failed == {}
        assert len(told_keys) == 2
        assert len(set(told_keys)) == 1
        history = await handle.fetch_history()
        written = b"".join(event.SerializeToString() for event in history.events)
        assert there.repository.encode() in written
        for form in (told_keys[0], told_keys[0].hex().encode(), b64encode(told_keys[0])):
            assert form not in written
        assert outcome.bytes_registry == outcome.bytes_peers == blob_bytes(made)
        assert registry.sent < 1.2 * blob_bytes(made)
        name = f"{there.repository}@{made.digest}"
        for engine in engines:
            assert engine.has_image(engine.image_name(name))
            before = registry.sent
            engine.pull(engine.image_name(name), lambda _: True)
            assert registry.sent - before < 50_000
            assert names_of_images(engine) == [engine.image_name(name)]
        for login in logins:
            with (
                RegistryClient(registry.url, login) as late,
                pytest.raises(FleetwideError, match="may not pull"),
            ):
                late.get_manifest(ImageReference(there.repository, digest=made.digest))
