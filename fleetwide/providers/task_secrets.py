"""Where a host finds the values of secrets that tasks name.

A value is read on the host that runs the task, right before its containers start: it passes
through no workflow, no database, no log. A task reaches only what is kept for its application.
"""

from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from fleetwide.errors import CloudUnavailable, InvalidInput
from fleetwide.settings import Settings

MAX_BYTES = 64 * 1024
# What AWS says of a secret that is not there, is about to go, or may not be read by this host.
_MISSING = {"ResourceNotFoundException", "InvalidRequestException"}
_REFUSED = {"AccessDeniedException", "AccessDenied", "DecryptionFailure"}


class SecretSource(Protocol):
    """Values of secrets, by application and name."""

    def read(self, app: str, name: str) -> bytes:
        """The value.

        Raises ``InvalidInput`` when there is none that this host may read; ``CloudUnavailable``
        when nobody can tell now.
        """
        raise NotImplementedError


def secret_source(settings: Settings) -> SecretSource:
    """The source that this host's operator chose."""
    if settings.secrets_provider == "folder":
        return FolderSecrets(settings.secrets_dir)
    client = boto3.client(
        "secretsmanager",
        region_name=settings.aws_region,
        endpoint_url=settings.aws_endpoint_url,
    )
    return AwsSecrets(client, settings.secrets_prefix)


class FolderSecrets:
    """Files ``<folder>/<application>/<name>`` on the host; the whole file is the value."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, app: str, name: str) -> bytes:
        own = self._folder.resolve() / app
        path = (own / name).resolve()
        if not path.is_relative_to(own):
            raise _refusal(app, name, "leads out of its application's folder")
        try:
            with path.open("rb") as file:
                return _bounded(app, name, file.read(MAX_BYTES + 1))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise _refusal(app, name, "is not on this host") from None
        except OSError as error:
            raise _refusal(app, name, f"cannot be read here: {error.strerror}") from None


class AwsSecrets:
    """AWS Secrets Manager: the secret ``<prefix><application>/<name>``, by the host's own role."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def read(self, app: str, name: str) -> bytes:
        known_as = f"{self._prefix}{app}/{name}"
        try:
            found = self._client.get_secret_value(SecretId=known_as)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _MISSING:
                raise _refusal(app, name, f"is not in AWS as {known_as}") from None
            if code in _REFUSED:
                raise _refusal(app, name, f"may not be read by this host ({known_as})") from None
            raise _unavailable(known_as, code) from None
        except BotoCoreError as error:
            raise _unavailable(known_as, type(error).__name__) from None
        text: str | None = found.get("SecretString")
        value = bytes(found["SecretBinary"]) if text is None else text.encode()
        return _bounded(app, name, value)


def _bounded(app: str, name: str, value: bytes) -> bytes:
    if len(value) > MAX_BYTES:
        raise _refusal(app, name, f"has more than {MAX_BYTES} bytes")
    return value


def _refusal(app: str, name: str, why: str) -> InvalidInput:
    return InvalidInput.for_field("container.secrets", f"the secret {name} of {app} {why}")


def _unavailable(known_as: str, code: str) -> CloudUnavailable:
    return CloudUnavailable(f"AWS Secrets Manager did not tell {known_as}: {code}")
