"""What a running step tells by its heartbeat is in the operation."""

from fleetwide.models.base import StepProgress


def test_a_step_reads_as_a_phrase_with_its_share_where_it_is_known() -> None:
    assert str(StepProgress(phrase="unpacking the base")) == "unpacking the base"
    assert str(StepProgress(phrase="uploading", fraction=0.4)) == "uploading, 40%"
