"""What a host must know to be served by another, and to be believed by it."""

from datetime import timedelta
from time import monotonic

import pytest

from fleetwide.errors import Denied
from fleetwide.providers.registry_shares import MAX_SHARES, Shares
from fleetwide.registry.digests import digest_of
from fleetwide.registry.sharing import (
    TOKEN_SECONDS,
    ShareKey,
    Together,
    is_peer_token,
    peer_proof,
    peer_token,
    share_secret,
)
from fleetwide.registry.token_keys import new_key, parse_keys
from tests.registry_index import NOW

DIGEST, OTHER = digest_of(b"one"), digest_of(b"two")
TOGETHER = Together("preheat/1", "apps/hello", DIGEST)
SECRET = b"what the hosts of one pre-heat know"
HOUR = timedelta(hours=1)
FRESH = ShareKey(SECRET, float("inf"))


def test_a_token_is_for_one_blob_and_for_a_while() -> None:
    token = peer_token(SECRET, DIGEST, 1000.0)
    assert is_peer_token(SECRET, DIGEST, token, 1000.0 + TOKEN_SECONDS)
    assert not is_peer_token(SECRET, OTHER, token, 1000.0)
    assert not is_peer_token(b"another", DIGEST, token, 1000.0)
    assert not is_peer_token(SECRET, DIGEST, token, 1001.0 + TOKEN_SECONDS)
    assert not is_peer_token(SECRET, DIGEST, token, 1000.0 - 2 * TOKEN_SECONDS)
    assert not is_peer_token(SECRET, DIGEST, "", 1000.0)


def test_a_proof_is_no_token_and_answers_one_token_alone() -> None:
    first, second = (peer_token(SECRET, DIGEST, moment) for moment in (1000.0, 1001.0))
    proof = peer_proof(SECRET, DIGEST, first)
    assert proof not in first
    assert proof != peer_proof(SECRET, DIGEST, second)
    assert proof != peer_proof(b"another", DIGEST, first)


def test_each_pre_heat_image_and_grant_has_a_key_of_its_own() -> None:
    ring, others = (parse_keys(new_key(), "here") for _ in range(2))
    secrets = {
        share_secret(ring, TOGETHER, NOW),
        share_secret(others, TOGETHER, NOW),
        share_secret(ring, TOGETHER, NOW + HOUR),
        share_secret(ring, Together("preheat/2", "apps/hello", DIGEST), NOW),
        share_secret(ring, Together("preheat/1", "apps/other", DIGEST), NOW),
        share_secret(ring, Together("preheat/1", "apps/hello", OTHER), NOW),
    }
    assert len(secrets) == 6
    assert share_secret(ring, TOGETHER, NOW) == share_secret(ring, TOGETHER, NOW)


def test_a_key_shows_nowhere() -> None:
    assert "know" not in repr(FRESH)


def gone() -> ShareKey:
    raise Denied("h1 takes no part in this pre-heat")


def test_only_blobs_of_the_pre_heats_image_are_served() -> None:
    shares = Shares()
    shares.open(TOGETHER, FRESH, gone, [DIGEST])
    assert shares.secret(TOGETHER.mark, DIGEST) == SECRET
    assert shares.secret(TOGETHER.mark, OTHER) is None
    assert shares.secret("another", DIGEST) is None


def test_an_old_key_is_asked_for_again_and_may_have_ended() -> None:
    shares, old = Shares(), ShareKey(b"old", monotonic() - 1)
    shares.open(TOGETHER, old, lambda: FRESH, [DIGEST])
    assert shares.secret(TOGETHER.mark, DIGEST) == SECRET
    shares.open(TOGETHER, old, gone, [DIGEST])
    assert shares.secret(TOGETHER.mark, DIGEST) is None
    assert shares.secret(TOGETHER.mark, DIGEST) is None


@pytest.mark.parametrize("count", [MAX_SHARES, MAX_SHARES + 1])
def test_what_was_begun_longest_ago_is_forgotten(count: int) -> None:
    shares = Shares()
    begun = [Together(f"preheat/{number}", "apps/hello", DIGEST) for number in range(count)]
    for one in begun:
        shares.open(one, FRESH, gone, [DIGEST])
    assert (shares.secret(begun[0].mark, DIGEST) is None) == (count > MAX_SHARES)
    assert shares.secret(begun[-1].mark, DIGEST) == SECRET
