import pytest

from fleetwide.errors import BuildFailed, FleetwideError, PlatformError
from fleetwide.providers import mmdebstrap
from fleetwide.providers.sandbox import Finished
from tests.unit.os_plans import spec_of


@pytest.mark.parametrize(
    ("finished", "error"),
    [
        (Finished(25, ["E: dash failed to configure"]), BuildFailed),
        (Finished(25, ["E: Hash Sum mismatch", "E: failed"]), PlatformError),
        (Finished(25, ["tar: write error: No space left on device"]), PlatformError),
        (Finished(-9, []), PlatformError),
    ],
)
def test_who_is_at_fault_decides_whether_it_is_tried_again(
    finished: Finished, error: type[FleetwideError]
) -> None:
    failure = mmdebstrap._failure(spec_of(), finished)
    assert type(failure) is error
    assert all(line in failure.message for line in finished.lines)
