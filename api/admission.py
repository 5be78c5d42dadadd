"""Checks that need the platform and not only the spec; the workflows make them again."""

from fleetwide.models.containers import ContainerSpec
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.references import parse_reference


def require_image(registry: RegistryClient, container: ContainerSpec) -> str:
    """The digest of the container's image.

    Raises:
        ImageNotFound: the registry does not have it.
    """
    return registry.resolve(parse_reference(container.image, "container.image"))
