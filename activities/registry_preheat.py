"""Pre-heat: which hosts, and what each of them does to have an image."""

from temporalio import activity

from activities.progress import heartbeat
from fleetwide.errors import ImagePullFailed
from fleetwide.models.containers import HostState
from fleetwide.models.hosts import PullProgress
from fleetwide.models.registry_preheat import PreheatPlan, PreheatSpec, WarmedHost, WarmHost
from fleetwide.providers.distribution import Manifest, RegistryClient
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.image_fetches import Fetch, Sharing
from fleetwide.providers.image_references import ImageResolver
from fleetwide.providers.progress import Throttled
from fleetwide.providers.registry_peers import loopback_mirror
from fleetwide.registry.preheat import choose_hosts
from fleetwide.registry.references import ImageReference, parse_reference
from fleetwide.store import hosts
from fleetwide.store.session import Store


class PreheatPlanActivities:
    """Control side: needs the database and the registry."""

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self.store = store
        self.images = ImageResolver(store, registry)

    @activity.defn(name="preheat.plan")
    def plan_preheat(self, spec: PreheatSpec) -> PreheatPlan:
        """Pin the image and choose the hosts.

        Raises:
            ImageNotFound: there is no such image.
            InvalidInput, Conflict: a host that was named takes no work, or none fits.
        """
        reference = parse_reference(spec.reference, "reference")
        digest = self.images.resolve(reference)
        with self.store.read() as session:
            active = {
                row.host_id: row.labels
                for row in hosts.listing(session)
                if row.state == HostState.ACTIVE
            }
        chosen = choose_hosts(active, spec, digest)
        return PreheatPlan(repository=reference.repository, digest=digest, hosts=chosen)


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
        fetch = Fetch(self._host.host_id, self._registry, self._sharing, Throttled(heartbeat))
        manifests, parsed = fetch.manifests(reference)
        with self._sharing.cache.keeping(blob.digest for blob in parsed.blobs):
            warmed = fetch.blobs(parsed, request)
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
