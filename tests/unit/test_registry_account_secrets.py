"""Secrets of registry accounts, their hashes, and the file of a platform's own accounts."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_access import AccountKind
from fleetwide.registry.accounts import (
    Account,
    hash_secret,
    is_secret,
    new_secret,
    parse_accounts,
)

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def test_a_secret_fits_its_own_hash_alone() -> None:
    secret = new_secret()
    first, second = hash_secret(secret), hash_secret(secret)
    assert first != second
    assert secret not in first
    assert is_secret(secret, first)
    assert is_secret(secret, second)
    for other in (new_secret(), "", secret[:-1], secret + "x"):
        assert not is_secret(other, first)


@pytest.mark.parametrize(
    "stored",
    [
        "", "secret", "scrypt$16384$8$1$AAAA", "md5$16384$8$1$AAAA$" + "A" * 43 + "=",
        "scrypt$16384$8$1$AAAA$", "scrypt$16384$8$1$AAAA$AAAA", "scrypt$x$8$1$AAAA$" + "A" * 43 + "=",
        "scrypt$3$8$1$AAAA$" + "A" * 43 + "=", "scrypt$16384$8$1$A!$" + "A" * 43 + "=",
        "scrypt$1073741824$8$1$AAAA$" + "A" * 43 + "=", "scrypt$2$1000000$1$AAAA$" + "A" * 43 + "=",
        "scrypt$2$8$1000000$AAAA$" + "A" * 43 + "=", "scrypt$-2$8$1$AAAA$" + "A" * 43 + "=",
    ],
)  # fmt: skip
def test_a_malformed_or_costly_hash_fits_nothing(stored: str) -> None:
    assert not is_secret("secret", stored)
    assert not is_secret("", stored)


def test_the_file_names_accounts_with_hash_and_grants() -> None:
    stored = hash_secret("word")
    grant = {"repositories": "apps/*", "actions": ["pull"]}
    text = {"builder": {"secret": stored, "grants": [grant]}, "host/h1": {"secret": stored}}
    found = parse_accounts(json.dumps(text).encode(), "accounts.json")
    assert found["builder"].kind is AccountKind.PLATFORM
    assert found["host/h1"].kind is AccountKind.HOST
    assert found["host/h1"].host_id == "h1"
    assert is_secret("word", found["builder"].secret_hash)
    assert stored not in repr(found)


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", '{"a": 1}', '{"A": {"secret": "s3cret"}}', '{"a": {"secret": "s3cret", "more": 1}}',
        '{"a": {"secret": "s3cret", "grants": [{"repositories": "s3cret!", "actions": ["pull"]}]}}',
        '{"a": {"secret": ["s3cret"]}}',
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_without_its_content(content: str) -> None:
    with pytest.raises(InvalidInput, match=r"accounts\.json") as raised:
        parse_accounts(content.encode(), "accounts.json")
    assert "s3cret" not in raised.value.message
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("changed", "usable"),
    [
        ({}, True), ({"disabled": True}, False), ({"expires_at": NOW}, False),
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
    ],
)  # fmt: skip
def test_an_account_can_be_disabled_and_expire(changed: dict[str, Any], usable: bool) -> None:
    assert Account("a", AccountKind.ROBOT, "", **changed).usable(NOW) is usable


def test_another_secret_is_another_generation() -> None:
    first = Account("a", AccountKind.ROBOT, hash_secret("word"))
    second = Account("a", AccountKind.ROBOT, hash_secret("word"))
    assert first.generation != second.generation
    assert first.generation not in first.secret_hash
