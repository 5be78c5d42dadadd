"""Pre-heat: which hosts, and what each of them does to have an image."""

from datetime import UTC, datetime, timedelta

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.errors import ImagePullFailed
from fleetwide.models.hosts import HostState, PullProgress
from fleetwide.models.registry_preheat import PreheatPlan, PreheatSpec, WarmedHost, WarmHost
from fleetwide.providers.distribution import Manifest, RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_fetches import Fetch, Sharing
from fleetwide.providers.image_references import ImageResolver
from fleetwide.providers.progress import Throttled
from fleetwide.providers.registry_peers import loopback_mirror
from fleetwide.registry.preheat import choose_hosts
from fleetwide.registry.references import ImageReference, parse_reference
from fleetwide.registry.sharing import Together
from fleetwide.store import hosts, registry_preheats
from fleetwide.store.session import Store

RIGHTS_LAST = timedelta(hours=12)
"""Longer than a pre-heat takes; one that is killed leaves its rights for as long as this."""


class PreheatPlanActivities:
    """Control side: needs the database and the registry."""

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self.store = store
        self.images = ImageResolver(store, registry)

    @activity.defn(name="preheat.plan")
    def plan_preheat(self, spec: PreheatSpec) -> PreheatPlan:
        """Pin the image, choose the hosts, and let them pull it until ``take_rights``.

        Raises:
            ImageNotFound: there is no such image.
            InvalidInput, Conflict: a host that was named takes no work, or none fits.
        """
        reference = parse_reference(spec.reference, "reference")
        digest = self.images.resolve(reference)
        now = datetime.now(UTC)
        with self.store.write() as session:
            active = {
                row.host_id: row.labels
                for row in hosts.listing(session)
                if row.state == HostState.ACTIVE
            }
            chosen = choose_hosts(active, spec, digest)
            registry_preheats.grant(
                session,
                _run_by(),
                reference,
                chosen,
                now=now,
                until=now + RIGHTS_LAST,
            )
        return PreheatPlan(repository=reference.repository, digest=digest, hosts=chosen)

    @activity.defn(name="preheat.take_rights")
    def take_rights(self) -> None:
        """End what the hosts may pull for the pre-heat that asks."""
        with self.store.write() as session:
            registry_preheats.revoke(session, _run_by())


def _run_by() -> str:
    """The workflow whose pre-heat this is."""
    found = activity.info().workflow_id
    assert found is not None
    return found


class HostPreheatActivities:
    """One host: its Docker daemon, its cache, the registry."""

    def __init__(self, host: ContainerHost, registry: RegistryClient, sharing: Sharing) -> None:
        self._host = host
        self._registry = registry
        self._sharing = sharing

    @activity.defn(name="preheat.warm_host", no_thread_cancel_exception=True)
    def warm_host(self, request: WarmHost) -> WarmedHost:
        """Have an image in Docker, its blobs from a peer where one serves them.

        What a peer does not give comes from the registry.

        Raises:
            ImageNotFound: the registry does not have it.
            RegistryUnavailable, ImagePullFailed: the registry or Docker did not do their part.
        """
        reference = ImageReference(request.repository, digest=request.digest)
        together = Together(_run_by(), request.repository, request.digest)
        progress = Throttled(heartbeat)
        fetch = Fetch(self._host.host_id, self._registry, self._sharing, together, progress)
        manifests, parsed = fetch.manifests(reference)
        with self._sharing.cache.keeping(blob.digest for blob in parsed.blobs):
            warmed = fetch.blobs(parsed, request.peer)
            self._load(reference, manifests)
        return warmed

    def _load(self, reference: ImageReference, manifests: dict[str, Manifest]) -> None:
        """Pull from loopback, then by the image's own name, for which nothing has to travel."""
        name = self._host.image_name(str(reference))
        if not self._host.has_image(name):
            with loopback_mirror(self._sharing.cache, manifests) as port:
                here = f"127.0.0.1:{port}/{reference}"
                self._host.pull(here, _go_on)
            try:
                self._host.pull(name, _go_on)
            finally:
                self._host.forget_name(here)
        if not self._host.has_image(name):
            raise ImagePullFailed(f"Docker does not have {name} after it was pulled")


def _go_on(progress: PullProgress) -> bool:
    heartbeat(f"loading {progress.layers_done} of {progress.layers} layers", None)
    return True
