"""Which search attributes a namespace lacks."""

import pytest

from fleetwide.dev.attributes import missing_attributes
from fleetwide.errors import ServiceUnavailable


def test_only_the_missing_are_created() -> None:
    wanted = {"App": "Keyword", "Cpu": "Double", "Tags": "KeywordList"}
    existing = {"App": "INDEXED_VALUE_TYPE_KEYWORD", "Tags": "INDEXED_VALUE_TYPE_KEYWORD_LIST"}
    assert missing_attributes(wanted, existing) == {"Cpu": "Double"}
    assert missing_attributes(wanted, {}) == wanted


def test_another_type_is_an_error_that_names_both() -> None:
    with pytest.raises(ServiceUnavailable, match=r"App is INDEXED_VALUE_TYPE_TEXT .* not Keyword"):
        missing_attributes({"App": "Keyword"}, {"App": "INDEXED_VALUE_TYPE_TEXT"})
