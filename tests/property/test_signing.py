from hypothesis import given
from hypothesis import strategies as st

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.signing import sign, verify
from tests.unit.providers.test_signing import KEY, PAYLOAD, TYPE

ENVELOPE = sign(KEY, PAYLOAD, TYPE)


@given(st.binary(), st.text())
def test_every_payload_comes_back(payload: bytes, payload_type: str) -> None:
    typed = payload_type.encode(errors="ignore").decode()
    assert verify(sign(KEY, payload, typed), KEY.verifying, typed) == payload


@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_no_changed_byte_changes_what_comes_back(place: int, change: int) -> None:
    damaged = bytearray(ENVELOPE)
    damaged[place] ^= change
    try:
        found = verify(bytes(damaged), KEY.verifying, TYPE)
    except ArtifactRejected:
        return
    assert found == PAYLOAD
