"""The key file of the registry's tokens."""

from pathlib import Path

from fleetwide.errors import PlatformError
from fleetwide.providers.private_files import PrivateFile, create_private
from fleetwide.registry.token_keys import KeyRing, new_key, parse_keys


def open_keys(path: Path) -> PrivateFile[KeyRing]:
    """The keys in ``path``, which is made with a new key when it is missing.

    Raises:
        InvalidInput: it holds something else, or others may read it.
        PlatformError: it can be neither read nor made.
    """
    try:
        if not path.exists():
            create_private(path, new_key())
    except OSError as error:
        raise PlatformError(
            f"the token key {path} can be neither read nor made: {error.strerror}",
            hint=f"ls -ld {path.parent}",
        ) from error
    keys = PrivateFile(path, "registry_token_key", parse_keys)
    keys.read()
    return keys
