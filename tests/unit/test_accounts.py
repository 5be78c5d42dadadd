"""Accounts as lines of text."""

import pytest

from fleetwide.baseos.accounts import AccountFiles, add_users, identifier
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import UserSpec

FILES = AccountFiles(
    passwd="root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www:/var/www:/usr/sbin/nologin\n",
    shadow="root:*:20000:0:99999:7:::\nwww-data:*:20000:0:99999:7:::\n",
    group="root:x:0:\nadm:x:4:\nsudo:x:27:root\nwww-data:x:33:\n",
    gshadow="root:*::\nadm:*::\nsudo:*::root\nwww-data:*::\n",
)
EPOCH = 86400 * 20_500 + 5


def user(**changes: object) -> UserSpec:
    return UserSpec.model_validate({"name": "app", "uid": 1500, **changes})


def test_a_user_gets_a_group_of_its_own_and_a_locked_password() -> None:
    files = add_users(FILES, [user(home="/srv/app", shell="/bin/sh")], EPOCH)
    assert files.passwd == FILES.passwd + "app:x:1500:1500::/srv/app:/bin/sh\n"
    assert files.shadow == FILES.shadow + "app:!*:20500:0:99999:7:::\n"
    assert files.group == FILES.group + "app:x:1500:\n"
    assert files.gshadow == FILES.gshadow + "app:!::\n"


def test_without_a_home_there_is_none() -> None:
    files = add_users(FILES, [user()], EPOCH)
    assert "app:x:1500:1500::/nonexistent:/usr/sbin/nologin\n" in files.passwd


def test_a_user_joins_groups_also_those_that_have_members() -> None:
    files = add_users(FILES, [user(groups=["adm", "sudo"])], EPOCH)
    assert "adm:x:4:app\nsudo:x:27:root,app\n" in files.group
    assert "adm:*::app\nsudo:*::root,app\n" in files.gshadow


def test_a_later_user_can_join_an_earlier_one_s_group() -> None:
    second = user(name="helper", uid=1501, groups=["app"])
    files = add_users(FILES, [user(), second], EPOCH)
    assert "app:x:1500:helper\n" in files.group


def test_files_that_the_image_does_not_have_are_not_made() -> None:
    bare = AccountFiles(FILES.passwd, "", FILES.group, "")
    files = add_users(bare, [user()], EPOCH)
    assert (files.shadow, files.gshadow) == ("", "")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "root"}, "users.0.name"),
        ({"uid": 33}, "users.0.uid"),
        ({"uid": 4}, "users.0.uid"),
        ({"groups": ["wheel"]}, "users.0.groups"),
        ({"name": "adm"}, "users.0.name"),
    ],
)
def test_what_is_taken_or_missing_is_told_by_its_field(
    wrong: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        add_users(FILES, [user(**wrong)], EPOCH)
    assert [fault.field for fault in caught.value.fields] == [field]


@pytest.mark.parametrize(
    ("owner", "numbers"),
    [
        ("root", (0, 0)),
        ("www-data:adm", (33, 4)),
        ("1000", (1000, 1000)),
        ("1000:1001", (1000, 1001)),
        ("root:27", (0, 27)),
    ],
)
def test_an_owner_is_a_name_or_a_number(owner: str, numbers: tuple[int, int]) -> None:
    assert identifier(FILES, owner) == numbers


@pytest.mark.parametrize("owner", ["nobody", "root:nobody"])
def test_an_owner_that_does_not_exist_is_told(owner: str) -> None:
    with pytest.raises(KeyError):
        identifier(FILES, owner)
