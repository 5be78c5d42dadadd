"""Errors and payloads on their way through Temporal."""

from typing import cast

import pytest
from pydantic import BaseModel
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from fleetwide.errors import (
    FieldFault,
    FleetwideError,
    ImageNotFound,
    InvalidInput,
    PlatformError,
    RegistryUnavailable,
    UserError,
    error_class,
)
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.temporal import converter
from fleetwide.temporal.converter import ExplainingPayloadConverter, data_converter
from fleetwide.temporal.errors import (
    as_application_error,
    from_application_error,
    without_credentials,
)


def test_an_error_survives_the_way_through_a_history() -> None:
    fault = FieldFault("container.image", "is not in the registry", "'x'")
    error = ImageNotFound("there is no x", hint="fleetwide image list", fields=(fault,))
    back = from_application_error(as_application_error(error))
    assert isinstance(back, ImageNotFound)
    assert (back.message, back.hint, back.fields) == (error.message, error.hint, error.fields)


@pytest.mark.parametrize(
    ("error", "final"),
    [(InvalidInput("x"), True), (RegistryUnavailable("x"), False), (PlatformError("x"), False)],
)
def test_only_the_users_faults_are_final(error: FleetwideError, final: bool) -> None:
    assert as_application_error(error).non_retryable is final
    assert isinstance(error, UserError) is final


def test_a_failure_of_an_unknown_type_is_still_one_of_ours() -> None:
    back = from_application_error(ApplicationError("strange", type="FromTheFuture"))
    assert type(back) is FleetwideError
    assert back.message == "strange"


def test_every_code_names_its_class() -> None:
    assert error_class(ImageNotFound.code) is ImageNotFound
    assert error_class(InvalidInput.code) is InvalidInput


def test_credentials_never_reach_a_history() -> None:
    url = "https://user:secret@registry.example/v2"
    assert "secret" not in without_credentials(url)
    error = as_application_error(RegistryUnavailable(f"{url} is away", hint=f"curl {url}"))
    assert "secret" not in error.message
    assert "secret" not in str(error.details)


async def test_what_does_not_fit_a_model_becomes_one_readable_failure() -> None:
    payloads = await data_converter.encode([{"app": "x", "container": {"imag": "a:1"}}])
    with pytest.raises(ApplicationError) as caught:
        await data_converter.decode(payloads, [ContainerTaskSpec])
    assert caught.value.type == "InvalidInput"
    assert caught.value.non_retryable
    assert "container.imag: unknown key; did you mean image?" in caught.value.message


def test_what_validates_a_model_is_built_once_for_all_runs() -> None:
    payloads = ExplainingPayloadConverter().to_payloads([[], []])
    hints: list[type] = [list[ContainerTaskSpec], cast("type", list[ContainerTaskSpec] | None)]
    converter._validator.cache_clear()
    for _run in range(3):
        assert ExplainingPayloadConverter().from_payloads(payloads, hints) == [[], []]
    found = converter._validator.cache_info()
    assert (found.misses, found.hits) == (2, 4)


def test_a_class_of_a_workflow_s_own_is_kept_by_nobody() -> None:
    """The sandbox makes it anew for each run."""

    class Own(BaseModel):
        name: str

    payloads = ExplainingPayloadConverter().to_payloads([[Own(name="a")]])
    converter._validator.cache_clear()
    assert ExplainingPayloadConverter().from_payloads(payloads, [list[Own]]) == [[Own(name="a")]]
    assert converter._validator.cache_info().currsize == 0


async def test_an_error_raised_on_purpose_is_written_without_a_stack_trace() -> None:
    written = Failure()
    try:
        raise as_application_error(InvalidInput("app: missing"))
    except ApplicationError as error:
        await data_converter.encode_failure(error, written)
    assert written.message == "app: missing"
    assert written.stack_trace == ""
    unexpected = Failure()
    try:
        raise ValueError("a bug")
    except ValueError as error:
        await data_converter.encode_failure(error, unexpected)
    assert "a bug" in unexpected.message
    assert unexpected.stack_trace != ""
