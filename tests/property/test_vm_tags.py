import re

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.vm_tags import VmFacts, vm_description, vm_name, vm_tags
from fleetwide.bakery.workload_units import workload_unit
from fleetwide.baseos.amis import MAX_DESCRIPTION, MAX_NAME, MAX_TAG_VALUE, MAX_TAGS
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.baseos import VERSION_PATTERN
from tests.unit.bakes import CHARACTERS, resolved

EC2_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")
names = st.from_regex(NAME_PATTERN, fullmatch=True)
versions = st.from_regex(VERSION_PATTERN, fullmatch=True)
builds = st.fixed_dictionaries(
    {
        "job": st.text(CHARACTERS, max_size=200),
        "number": st.text(CHARACTERS, max_size=40),
        "commit": st.from_regex(r"^[0-9a-fA-F]{0,64}$", fullmatch=True),
    }
)
WORDS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=40)


@given(names, versions, builds)
def test_every_bake_has_a_name_and_tags_that_ec2_takes(
    name: str, version: str, build: dict[str, str]
) -> None:
    bake = resolved(name=name, version=version, build=build, targets=["vm"])
    assert EC2_NAME.fullmatch(vm_name(bake))
    assert len(vm_name(bake)) <= MAX_NAME
    assert len(vm_description(bake)) <= MAX_DESCRIPTION
    tags = vm_tags(bake, VmFacts(f"bake/{bake.bake_key}"))
    assert len(tags) <= MAX_TAGS
    assert all(1 <= len(value) <= MAX_TAG_VALUE for value in tags.values())


@given(st.lists(WORDS, max_size=5), st.dictionaries(st.just("A"), WORDS))
def test_no_word_or_value_changes_the_shape_of_the_unit(
    words: list[str], env: dict[str, str]
) -> None:
    plain = workload_unit(resolved(command=["/run"], env=dict.fromkeys(env, "x")), {})
    text = workload_unit(resolved(command=["/run", *words], env=env), {})
    assert [line.partition("=")[0] for line in text.split("\n")] == [
        line.partition("=")[0] for line in plain.split("\n")
    ]
