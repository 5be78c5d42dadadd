"""Fleetwide's errors as Temporal failures and back."""

import re
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from fleetwide.errors import ErrorCode, FieldFault, FleetwideError, UserError

_CREDENTIALS = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")


def without_credentials(text: str) -> str:
    """``text`` with user and password cut out of every URL: histories keep what they get."""
    return _CREDENTIALS.sub("***", text)


def as_application_error(error: FleetwideError) -> ApplicationError:
    """The failure that a history keeps: type is the code, details carry hint and fields."""
    details: dict[str, Any] = {}
    if error.hint:
        details["hint"] = without_credentials(error.hint)
    if error.fields:
        details["fields"] = [vars(fault) for fault in error.fields]
    expected = isinstance(error, UserError)
    return ApplicationError(
        without_credentials(error.message),
        *([details] if details else []),
        type=error.code,
        non_retryable=not error.traits.retryable,
        category=ApplicationErrorCategory.BENIGN
        if expected
        else ApplicationErrorCategory.UNSPECIFIED,
    )


def from_application_error(error: ApplicationError) -> FleetwideError:
    """The error that a Temporal failure was made of; unknown types become the base class."""
    details = error.details[0] if error.details and isinstance(error.details[0], dict) else {}
    fields = tuple(FieldFault(**fault) for fault in details.get("fields", ()))
    known = {cls.code: cls for cls in _all_subclasses(FleetwideError)}
    try:
        cls = known.get(ErrorCode(error.type or ""), FleetwideError)
    except ValueError:
        cls = FleetwideError
    return cls(error.message, hint=details.get("hint"), fields=fields)


def _all_subclasses(cls: type[FleetwideError]) -> list[type[FleetwideError]]:
    """Subclasses, leaves last, so that a leaf wins over a family that shares its code."""
    found = cls.__subclasses__()
    return [cls, *(item for sub in found for item in _all_subclasses(sub))]
