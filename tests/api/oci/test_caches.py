"""What a gateway keeps in memory stays within its bounds, and is right."""

from hypothesis import given
from hypothesis import strategies as st

from api.oci.cache import ENTRY_BYTES, ManifestCache, Recent

SIZES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3000)), max_size=60)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = ManifestCache(2 * (ENTRY_BYTES + 10))
    cache.put("a", b"a" * 10)
    cache.put("b", b"b" * 10)
    assert cache.get("a") == b"a" * 10
    cache.put("c", b"c" * 10)
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.get("c") is not None


def test_what_is_larger_than_all_of_it_is_not_kept() -> None:
    cache = ManifestCache(1000)
    cache.put("a", b"a" * 10)
    cache.put("big", b"b" * 1000)
    assert cache.get("big") is None
    assert cache.get("a") is not None


@given(SIZES, st.integers(0, 10_000))
def test_the_bytes_are_bounded_whatever_comes(puts: list[tuple[int, int]], limit: int) -> None:
    cache = ManifestCache(limit)
    for key, size in puts:
        cache.put(str(key), bytes([key]) * size)
        assert 0 <= cache.size <= limit
    for key, _ in puts:
        found = cache.get(str(key))
        assert found is None or set(found) <= {key}


def test_the_last_answers_are_kept_and_a_new_one_replaces_the_old() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.put("a", 3)
    recent.put("c", 4)
    assert recent.get("a") == 3
    assert recent.get("b") is None
    recent.put("a", None)
    assert recent.get("a") is None
