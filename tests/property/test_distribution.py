from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.bakery.distribution import missing_of, widened, with_known_amis
from fleetwide.models.bakery import BakeAmiSpec
from fleetwide.models.bakes import BakedImage, RegionState, RegionStatus
from fleetwide.models.os_releases import AmiImage
from tests.unit.bakes import resolved
from tests.unit.test_baked_images import imaged

REGIONS = ("eu-west-1", "us-east-2", "ap-south-1")
ACCOUNTS = ("1" * 12, "2" * 12, "3" * 12)


@st.composite
def wishes(draw: st.DrawFn) -> BakeAmiSpec:
    given_: dict[str, Any] = {
        "regions": draw(st.lists(st.sampled_from(REGIONS), min_size=1, max_size=4)),
        "accounts": draw(st.lists(st.sampled_from(ACCOUNTS), unique=True)),
        "tags": draw(st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from("ab"))),
    }
    return BakeAmiSpec.model_validate(given_)


def ami(region: str, image_id: str = "ami-1") -> AmiImage:
    return AmiImage(region=region, image_id=image_id, snapshot_id="snap-1")


def given_to(asked: BakeAmiSpec) -> BakedImage:
    """An image that has all that was asked for."""
    regions = dict.fromkeys(asked.regions)
    return imaged(
        resolved(),
        amis=[ami(region) for region in regions],
        regions=[
            RegionStatus(region=one, state=RegionState.AVAILABLE, shared_with=asked.accounts)
            for one in regions
        ],
        ami_tags=asked.tags,
    )


@given(wishes())
def test_what_was_asked_for_and_given_is_not_missing(asked: BakeAmiSpec) -> None:
    assert missing_of(given_to(asked), asked) is None


@given(wishes(), wishes())
def test_exactly_what_is_new_is_missing(before: BakeAmiSpec, asked: BakeAmiSpec) -> None:
    missing = missing_of(given_to(before), asked)
    regions = missing.regions if missing else []
    more = {*asked.accounts} - {*before.accounts}
    assert {*regions} == {one for one in asked.regions if more or one not in before.regions}
    assert len(regions) == len({*regions})
    tags = missing.tags if missing else {}
    assert {**before.tags, **tags} == {**before.tags, **asked.tags}


@given(wishes(), wishes())
def test_what_was_asked_for_together_leaves_neither_request_wanting(
    first: BakeAmiSpec, second: BakeAmiSpec
) -> None:
    both = widened(first, second)
    assert both is not None
    assert widened(both, second) == both
    missing = missing_of(given_to(both), first)
    assert missing is None or not missing.regions
    assert missing_of(given_to(both), second) is None


@given(st.sampled_from(list(RegionState)))
def test_only_a_region_that_is_available_counts(state: RegionState) -> None:
    asked = BakeAmiSpec(regions=["eu-west-1"])
    status = RegionStatus(region="eu-west-1", state=state)
    image = imaged(resolved(), amis=[ami("eu-west-1")], regions=[status])
    assert (missing_of(image, asked) is None) == (state is RegionState.AVAILABLE)


@given(st.lists(st.sampled_from(REGIONS), unique=True), st.lists(st.sampled_from(REGIONS)))
def test_a_region_has_one_ami_and_the_new_one_goes_first(new: list[str], known: list[str]) -> None:
    known = list(dict.fromkeys(known))
    merged = with_known_amis(
        [ami(one, "ami-2") for one in new], [ami(one, "ami-1") for one in known]
    )
    assert [one.region for one in merged[: len(new)]] == new
    assert sorted(one.region for one in merged) == sorted({*new, *known})
    assert all(one.image_id == ("ami-2" if one.region in new else "ami-1") for one in merged)
