"""Drains of a host that is being drained already: only what empties it sooner is taken."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.models.host_moves import DrainRequest, is_sooner


@given(
    seconds=st.integers(1, 10_000),
    left=st.floats(0, 10_000),
    force=st.booleans(),
    forced=st.booleans(),
)
def test_a_drain_is_never_made_longer_or_softer(
    seconds: int, left: float, force: bool, forced: bool
) -> None:
    running = DrainRequest(reason="disk", deadline_seconds=10_000, force=forced)
    asked = DrainRequest(reason="spot", deadline_seconds=seconds, force=force)
    if is_sooner(asked, running, left):
        assert seconds < left
        assert force >= forced
    else:
        assert seconds >= left or (forced and not force)
