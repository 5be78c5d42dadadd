"""Whatever accounts are asked for: no name and no number is there twice, and no line is lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.accounts import AccountFiles, add_users, identifier
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import UserSpec
from tests.unit.test_accounts import FILES

NAMES = ["root", "adm", "app", "db", "_x", "www-data"]
USERS = st.lists(
    st.builds(
        lambda name, uid, groups: UserSpec(name=name, uid=uid, groups=sorted(groups)),
        st.sampled_from(NAMES),
        st.sampled_from([4, 33, 1500, 1501, 60000]),
        st.sets(st.sampled_from([*NAMES, "sudo", "nobody"]), max_size=3),
    ),
    max_size=4,
)


def columns(text: str, number: int) -> list[str]:
    return [line.split(":")[number] for line in text.splitlines()]


def added(files: AccountFiles, users: list[UserSpec]) -> AccountFiles | None:
    try:
        return add_users(files, users, 0)
    except InvalidInput:
        return None


@given(USERS)
def test_names_and_numbers_are_there_once(users: list[UserSpec]) -> None:
    files = added(FILES, users)
    if files is None:
        return
    for text in (files.passwd, files.group):
        for number in (0, 2):
            assert max(Counter(columns(text, number)).values()) == 1
    assert columns(files.shadow, 0) == columns(files.passwd, 0)
    assert columns(files.gshadow, 0) == columns(files.group, 0)


@given(USERS)
def test_what_was_there_stays_and_everybody_is_found(users: list[UserSpec]) -> None:
    files = added(FILES, users)
    if files is None:
        return
    assert files.passwd.startswith(FILES.passwd)
    assert files.shadow.startswith(FILES.shadow)
    before, after = FILES.group.splitlines(), files.group.splitlines()
    assert all(new.startswith(old) for old, new in zip(before, after, strict=False))
    members = {line.split(":")[0]: line.split(":")[3].split(",") for line in after}
    for user in users:
        assert identifier(files, user.name) == (user.uid, user.uid)
        assert all(members[group].count(user.name) == 1 for group in user.groups)


@given(USERS)
def test_only_what_clashes_is_refused(users: list[UserSpec]) -> None:
    names = [*columns(FILES.passwd, 0), *columns(FILES.group, 0)]
    numbers = [*columns(FILES.passwd, 2), *columns(FILES.group, 2)]
    known = {*columns(FILES.group, 0)}
    clash = False
    for user in users:
        clash |= user.name in names or str(user.uid) in numbers or not {*user.groups} <= known
        names.append(user.name)
        numbers.append(str(user.uid))
        known.add(user.name)
    assert (added(FILES, users) is None) == clash
