"""Checks at admission that need the registry; the API and the workflows make the same."""

from fleetwide.errors import FieldFault, ImageNotFound
from fleetwide.models.containers import ContainerSpec
from fleetwide.providers.image_references import ImageResolver
from fleetwide.registry.references import parse_reference

FIELD = "container.image"


def pinned_image(images: ImageResolver, container: ContainerSpec) -> str:
    """``repository@digest`` of the container's image.

    Raises:
        ImageNotFound: the registry does not have it.
        RegistryUnavailable: neither the index nor the registry can tell now.
    """
    return _pinned(images, container.image, FIELD)


def pinned_extras(images: ImageResolver, container: ContainerSpec) -> dict[str, str]:
    """``repository@digest`` of each extra container's image, by its name; raises the same."""
    return {
        extra.name: _pinned(images, extra.image, f"container.extra_containers.{extra.name}.image")
        for extra in container.extra_containers
    }


def check_images(images: ImageResolver, container: ContainerSpec) -> None:
    """Refuse a container of which some image is not there; raises the same."""
    pinned_image(images, container)
    pinned_extras(images, container)


def _pinned(images: ImageResolver, text: str, field: str) -> str:
    reference = parse_reference(text, field)
    try:
        digest = images.resolve(reference)
    except ImageNotFound as error:
        fault = FieldFault(field, error.message)
        raise ImageNotFound(str(fault), hint=error.hint, fields=(fault,)) from None
    return str(reference.pinned(digest))
