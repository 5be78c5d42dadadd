"""Which search attributes a namespace lacks."""

import pytest

from fleetwide.dev.attributes import missing_attributes
from fleetwide.errors import ServiceUnavailable


def test_only_the_missing_are_created_each_type_together() -> None:
    wanted = {"App": "Keyword", "Cpu": "Double", "Host": "Keyword", "Tags": "KeywordList"}
    existing = {"App": "INDEXED_VALUE_TYPE_KEYWORD", "Tags": "INDEXED_VALUE_TYPE_KEYWORD_LIST"}
    assert missing_attributes(wanted, existing) == {"Double": ["Cpu"], "Keyword": ["Host"]}
    assert missing_attributes(wanted, {}).keys() == {"Keyword", "Double", "KeywordList"}


def test_another_type_is_an_error_that_names_both() -> None:
    with pytest.raises(ServiceUnavailable, match="App is INDEXED_VALUE_TYPE_TEXT .* not Keyword"):
        missing_attributes({"App": "Keyword"}, {"App": "INDEXED_VALUE_TYPE_TEXT"})
