"""What is looked at before a task, a batch job or a service is started."""

from api.deps import Platform
from fleetwide.models.containers import ContainerSpec
from fleetwide.providers.admission import check_images
from fleetwide.store import capacity_groups


def admit(platform: Platform, container: ContainerSpec, capacity_group: str) -> None:
    """Refuse what could never run as it is asked for; takes a moment, so not in the event loop.

    Raises:
        InvalidInput: there is no such capacity group.
        ImageNotFound: some image is not in the registry.
        RegistryUnavailable: neither the index nor the registry can tell now.
    """
    with platform.store.read() as session:
        capacity_groups.check(session, capacity_group)
    check_images(platform.images, container)
