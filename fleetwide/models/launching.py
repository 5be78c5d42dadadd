"""What starts a container, whichever of a task's containers it is: image, words, environment."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from fleetwide.models.texts import Word

MAX_ENV_BYTES = 32 * 1024
MAX_ENTRYPOINT_BYTES = 16 * 1024
IMAGE_PATTERN = (
    r"^(?P<repository>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?:(?:@(?P<digest>sha256:[0-9a-f]{64}))|(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})))$"
)


def _with_tag_or_digest(value: str) -> str:
    if not re.fullmatch(IMAGE_PATTERN, value):
        raise ValueError(
            "must be repository:tag or repository@sha256:<64 hex digits> in this registry"
        )
    return value


def _small_words(value: list[str]) -> list[str]:
    size = sum(len(word.encode()) + 1 for word in value)
    if size > MAX_ENTRYPOINT_BYTES:
        raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENTRYPOINT_BYTES}")
    return value


def _small_env(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} is not the name of an environment variable")
    size = sum(len(k.encode()) + len(v.encode()) + 2 for k, v in value.items())
    if size > MAX_ENV_BYTES:
        raise ValueError(f"is {size} bytes in all; the limit is {MAX_ENV_BYTES}")
    return value


ImageReference = Annotated[
    str,
    AfterValidator(_with_tag_or_digest),
    Field(
        description="repository:tag or repository@sha256:... in the platform's registry",
        examples=["apps/hello:1.0.0"],
    ),
]
Words = Annotated[list[Word], AfterValidator(_small_words)]
Env = Annotated[dict[str, Word], AfterValidator(_small_env)]
