"""The custom search attributes, typed. ``temporal-dev.yaml`` registers the same names."""

from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)

APP = SearchAttributeKey.for_keyword("App")
OWNER = SearchAttributeKey.for_keyword("Owner")
PRODUCT = SearchAttributeKey.for_keyword("Product")
STATE = SearchAttributeKey.for_keyword("State")
QUEUE = SearchAttributeKey.for_keyword("Queue")
HOST = SearchAttributeKey.for_keyword("Host")
IMAGE_DIGEST = SearchAttributeKey.for_keyword("ImageDigest")
OS_RELEASE = SearchAttributeKey.for_keyword("OSRelease")

ALL = (APP, OWNER, PRODUCT, STATE, QUEUE, HOST, IMAGE_DIGEST, OS_RELEASE)


def pairs(values: dict[SearchAttributeKey[str], str | None]) -> TypedSearchAttributes:
    """The attributes that have a value, for the start of a workflow."""
    return TypedSearchAttributes(
        [SearchAttributePair(key, value) for key, value in values.items() if value]
    )


def updates(
    values: dict[SearchAttributeKey[str], str | None],
) -> list[SearchAttributeUpdate[str]]:
    """The attributes that have a value, for an upsert from inside a workflow."""
    return [key.value_set(value) for key, value in values.items() if value]
