"""What simulated hosts do otherwise than real ones, beside running containers."""

from temporalio import activity

from fleetwide.models.registry_preheat import WarmedHost, WarmHost
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.registry.references import ImageReference


class SimulatedPreheatActivities:
    """One simulated host: it has any image at once, and nothing travels."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    @activity.defn(name="preheat.warm_host")
    def warm_host(self, request: WarmHost) -> WarmedHost:
        """Have the image."""
        reference = ImageReference(request.repository, digest=request.digest)
        self._engine.pull(self._engine.image_name(str(reference)), lambda _: True)
        return WarmedHost(host_id=self._engine.host_id)
