"""How errors are written into histories: an expected error is one short line, without a traceback.

People read failures in the Web UI and the CLI, which print the stack trace first. For an error
that was raised on purpose it says nothing but where in Fleetwide the sentence stands.
"""

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter

from fleetwide.errors import ErrorCode

ON_PURPOSE = frozenset(code.value for code in ErrorCode if code is not ErrorCode.INTERNAL)


class ShortFailureConverter(DefaultFailureConverter):
    """The default converter, less the stack traces of errors that were raised on purpose."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        super().to_failure(exception, payload_converter, failure)
        if failure.application_failure_info.type in ON_PURPOSE:
            failure.stack_trace = ""
            failure.ClearField("cause")
