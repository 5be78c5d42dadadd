"""Account files are the image's own, so they may hold anything."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.container_users import MAX_ID, Accounts, container_user
from fleetwide.errors import SmokeTestFailed

CELL = st.sampled_from(["app", "www", "", "0", "7", str(MAX_ID), str(MAX_ID + 1), "²", "x" * 9])
ROW = st.lists(CELL, max_size=8).map(":".join)
TEXT = st.lists(ROW, max_size=6).map("\n".join) | st.text()
USER = st.from_regex(r"\A(app|www|7|[0-9]{1,32})(:(app|www|7|[0-9]{1,32}))?\Z")


@given(user=USER, passwd=TEXT, group=TEXT)
def test_any_account_files_give_usable_numbers_or_a_told_failure(
    user: str, passwd: str, group: str
) -> None:
    try:
        found = container_user(user, Accounts(passwd, group))
    except SmokeTestFailed as error:
        assert "the image has no" in error.message
        return
    assert all(0 <= number <= MAX_ID for number in (found.uid, found.gid, *found.groups))
    assert found.home
