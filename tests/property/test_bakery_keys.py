from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.keys import bake_key
from fleetwide.models.bakery import BakeSpec
from tests.unit.bakes import BASE, bake_spec

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
WORDS = st.lists(st.text(max_size=8), max_size=3)
# Each field that decides the bytes, with values that the field allows.
DECIDING: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True),
    "version": st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,10}", fullmatch=True),
    "entrypoint": WORDS,
    "command": WORDS,
    "env": st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text(max_size=5)),
    "user": st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True),
    "workdir": st.from_regex(r"/[a-z]{0,8}", fullmatch=True),
    "ports": st.lists(st.integers(1, 65535), max_size=1),
    "labels": st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=5)),
}
CHANGE = st.sampled_from(sorted(DECIDING)).flatmap(
    lambda field: st.tuples(st.just(field), DECIDING[field])
)


def debs(*digests: str) -> list[dict[str, str]]:
    return [{"type": "deb", "sha256": one, "filename": "a.deb"} for one in digests]


def changed(spec: BakeSpec, field: str, value: Any) -> BakeSpec:
    return BakeSpec.model_validate({**spec.model_dump(), field: value})


@given(CHANGE)
def test_the_key_changes_exactly_with_what_decides_the_bytes(change: tuple[str, Any]) -> None:
    field, value = change
    before = bake_spec()
    after = changed(before, field, value)
    same = getattr(before, field) == getattr(after, field)
    assert (bake_key(before, BASE) == bake_key(after, BASE)) is same


@given(st.text(max_size=50), st.sampled_from(["baseos:stable", "baseos:candidate", "baseos:1"]))
def test_owner_and_the_name_of_the_base_do_not_count(owner: str, base: str) -> None:
    assert bake_key(bake_spec(owner=owner, base=base), BASE) == bake_key(bake_spec(), BASE)


@given(st.from_regex(r"[a-z]{1,20}", fullmatch=True))
def test_where_an_artifact_comes_from_does_not_count(path: str) -> None:
    plain = bake_spec(artifacts=debs("1" * 64))
    fetched = [{**debs("1" * 64)[0], "url": f"https://example.org/{path}"}]
    assert bake_key(bake_spec(artifacts=fetched), BASE) == bake_key(plain, BASE)


@given(HEX, HEX)
def test_artifacts_count_in_order(first: str, second: str) -> None:
    one = bake_key(bake_spec(artifacts=debs(first, second)), BASE)
    other = bake_key(bake_spec(artifacts=debs(second, first)), BASE)
    assert (one == other) is (first == second)


@given(HEX)
def test_the_base_counts_by_its_digest(digits: str) -> None:
    other = BASE.model_copy(update={"digest": f"sha256:{digits}"})
    assert (bake_key(bake_spec(), BASE) == bake_key(bake_spec(), other)) is (other == BASE)


@given(st.sampled_from(["deb", "wheel"]))
def test_only_a_wheel_s_filename_counts(kind: str) -> None:
    def key(filename: str) -> str:
        artifact = {"type": kind, "sha256": "1" * 64, "filename": filename}
        return bake_key(bake_spec(artifacts=[artifact]), BASE)

    assert (key("a") == key("b")) is (kind == "deb")


@given(st.permutations([("A", "1"), ("B", "2"), ("C", "3")]))
def test_the_order_of_the_environment_does_not_count(pairs: list[tuple[str, str]]) -> None:
    ordered = bake_spec(env={"A": "1", "B": "2", "C": "3"})
    assert bake_key(bake_spec(env=dict(pairs)), BASE) == bake_key(ordered, BASE)
