"""Fleetwide's errors as Temporal failures and back."""

import re
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from fleetwide.errors import FieldFault, FleetwideError, UserError, error_class

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
    cls = error_class(error.type or "")
    return cls(error.message, hint=details.get("hint"), fields=fields)
