from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.keys import (
    bake_document,
    content_document,
    differences,
    key_of,
    needs_resolution,
    request_document,
)
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import AppliedRecipe, BaseImage, Dependency
from tests.unit.bakes import BASE, CHARACTERS, bake_spec

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
WORDS = st.lists(st.text(CHARACTERS, max_size=8), max_size=3)
# Each field that decides the bytes, with values that the field allows.
DECIDING: dict[str, st.SearchStrategy[Any]] = {
    "name": st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True),
    "version": st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,10}", fullmatch=True),
    "entrypoint": WORDS,
    "command": WORDS,
    "env": st.dictionaries(
        st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text(CHARACTERS, max_size=5)
    ),
    "user": st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True),
    "workdir": st.from_regex(r"/[a-z]{0,8}", fullmatch=True),
    "ports": st.lists(st.integers(1, 65535), max_size=1),
    "packages": st.lists(st.from_regex(r"[a-z]{2,5}", fullmatch=True), max_size=1),
    "volumes": st.lists(st.just("/data"), max_size=1),
    "init": st.booleans(),
    "healthcheck": st.none() | st.just({"command": ["true"]}),
    "targets": st.sampled_from([["container"], ["vm"], ["container", "vm"]]),
}
# Metadata, tests and where it goes: none of it is in the bytes.
IDLE: dict[str, st.SearchStrategy[Any]] = {
    "owner": st.text(CHARACTERS, max_size=50),
    "base": st.sampled_from(["baseos:stable", "baseos:candidate", "baseos:1"]),
    "labels": st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(CHARACTERS, max_size=5)
    ),
    "build": st.fixed_dictionaries(
        {"job": st.text(CHARACTERS, max_size=5), "commit": st.just("abc")}
    ),
    "smoke": st.fixed_dictionaries({"enabled": st.booleans()}),
    "rebake": st.booleans(),
    "refresh": st.booleans(),
    "max_size": st.just(2**30),
}
CHANGE = st.sampled_from(sorted(DECIDING)).flatmap(
    lambda field: st.tuples(st.just(field), DECIDING[field])
)
DEPENDENCY = st.builds(
    Dependency,
    kind=st.just("deb"),
    name=st.from_regex(r"[a-z]{2,5}", fullmatch=True),
    version=st.just("1"),
    filename=st.just("x.deb"),
    sha256=st.just("f" * 64),
    url=st.just("http://mirror.example/x.deb"),
)


def bake_key(spec: BakeSpec, base: BaseImage) -> str:
    return key_of(request_document(spec, base))


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


@given(st.fixed_dictionaries(IDLE))
def test_metadata_tests_and_the_name_of_the_base_do_not_count(given_: dict[str, Any]) -> None:
    assert bake_key(bake_spec(**given_), BASE) == bake_key(bake_spec(), BASE)


@given(st.lists(DEPENDENCY, max_size=3, unique_by=lambda one: one.name))
def test_what_was_resolved_counts_in_any_order(needs: list[Dependency]) -> None:
    request = request_document(bake_spec(), BASE)
    keys = {key_of(bake_document(request, one)) for one in (needs, needs[::-1])}
    assert len(keys) == 1
    assert (keys == {key_of(request)}) is (needs == [])


@given(HEX)
def test_equal_content_on_another_base_is_equal(digits: str) -> None:
    other = BASE.model_copy(update={"digest": f"sha256:{digits}", "version": "2"})
    mine, theirs = (
        key_of(content_document(request_document(bake_spec(), base), base))
        for base in (BASE, other)
    )
    assert mine == theirs


def test_python_s_content_belongs_to_a_suite() -> None:
    wheel = {"type": "wheel", "sha256": "1" * 64, "filename": "a-1-py3-none-any.whl"}
    newer = BASE.model_copy(update={"suite": "trixie"})

    def content(base: BaseImage, **spec: Any) -> str:
        return key_of(content_document(request_document(bake_spec(**spec), base), base))

    assert content(BASE) == content(newer)
    assert content(BASE, artifacts=[wheel]) != content(newer, artifacts=[wheel])


def test_a_recipe_counts_by_what_it_adds_and_not_by_its_name() -> None:
    one, other = AppliedRecipe(reference="a:1"), AppliedRecipe(reference="b:2")
    hard = AppliedRecipe(reference="a:1", drop_setuid=True)
    keys = [key_of(request_document(bake_spec(), BASE, recipe)) for recipe in (one, other, hard)]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


@given(CHANGE)
def test_the_differences_name_exactly_what_changed(change: tuple[str, Any]) -> None:
    field, value = change
    before, after = bake_spec(), changed(bake_spec(), field, value)
    found = differences(request_document(before, BASE), request_document(after, BASE))
    same = getattr(before, field) == getattr(after, field)
    assert [name for name, _, _ in found] == ([] if same else [field])


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({}, False),
        ({"packages": ["curl"]}, True),
        ({"init": True}, True),
        ({"artifacts": [{"type": "deb", "sha256": "1" * 64, "filename": "a.deb"}]}, True),
    ],
)
def test_only_what_may_need_more_is_resolved(more: dict[str, Any], *, needed: bool) -> None:
    assert needs_resolution(bake_spec(**more)) is needed


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
