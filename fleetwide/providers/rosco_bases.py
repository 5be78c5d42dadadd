"""What the ``base_os`` of Spinnaker's requests stand for, as an organisation keeps it in a file."""

from fleetwide.errors import InvalidInput, PlatformError
from fleetwide.models.rosco import RoscoBases
from fleetwide.providers.yaml_files import read_yaml
from fleetwide.settings import Settings


def load_bases(settings: Settings) -> RoscoBases:
    """The mapping as it is now; without a file nothing is mapped.

    Raises:
        PlatformError: the file is wrong, which is no fault of the request.
    """
    if settings.rosco_bases is None:
        return RoscoBases()
    try:
        return read_yaml(
            settings.rosco_bases, RoscoBases, "the bases for Spinnaker", "docs/guides/spinnaker.md"
        )
    except InvalidInput as error:
        raise PlatformError(error.message, hint=error.hint) from error
