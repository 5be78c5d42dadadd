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
    reference = parse_reference(container.image, FIELD)
    try:
        digest = images.resolve(reference)
    except ImageNotFound as error:
        fault = FieldFault(FIELD, error.message)
        raise ImageNotFound(str(fault), hint=error.hint, fields=(fault,)) from None
    return str(reference.pinned(digest))
