"""A report survives whatever else a serial console carries."""

import re

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.verdicts import dead_end, last_lines, read_verdict
from tests.unit.consoles import TOKEN, frame, report

keys = st.from_regex(r"[a-z][a-z0-9._-]{0,15}", fullmatch=True).filter(lambda key: key != "end")
values = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" \n"),
    max_size=60,
).map(lambda text: text.strip())
reports = st.dictionaries(keys, values, min_size=1, max_size=8)
WHOLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\[ *\d+\.\d{6}\][^\n]*\n")
noise = st.one_of(
    st.sampled_from(["\r", "\n", "\r\n", "\x1b[0;32m", "\x1b[0m", "\x1b[2J\x1b[1;1H", "\x00"]),
    st.builds(
        "[{:12.6f}] {}\r\n".format,
        st.floats(0, 9999),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    ),
)


@given(reports, st.data())
def test_noise_anywhere_does_not_change_a_report(
    facts: dict[str, str], data: st.DataObject
) -> None:
    console = report(facts)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(console)))
        # Nothing writes into the middle of a terminal sequence or of the kernel's own line.
        if not any(
            start < place < end for start, end in map(re.Match.span, WHOLE.finditer(console))
        ):
            console = console[:place] + data.draw(noise) + console[place:]
    verdict = read_verdict(console, TOKEN)
    assert verdict.complete
    assert verdict.facts == facts


@given(reports, st.integers(1, 40))
def test_a_console_that_wraps_its_lines_loses_nothing(facts: dict[str, str], width: int) -> None:
    console = report(facts)
    wrapped = "\r\n".join(console[at : at + width] for at in range(0, len(console), width))
    assert read_verdict(wrapped, TOKEN).facts == facts


@given(reports, st.data())
def test_a_damaged_first_copy_is_made_good_by_the_second(
    facts: dict[str, str], data: st.DataObject
) -> None:
    copy = report(facts)
    place = data.draw(st.integers(0, len(copy) - 1))
    damaged = f"{copy[:place]}#{copy[place + 1 :]}"
    assert read_verdict(f"{damaged}\n{copy}", TOKEN).facts == facts


@given(st.text(), st.text(alphabet="0123456789abcdef", min_size=16, max_size=16))
def test_no_text_is_taken_for_a_report(text: str, token: str) -> None:
    assert read_verdict(text, token).facts == {}
    dead_end(text)
    assert all("\x1b" not in line for line in last_lines(text, 5))


@given(reports, keys)
def test_facts_of_another_boot_do_not_count(facts: dict[str, str], key: str) -> None:
    forged = frame(key, "forged", token="f" * 16)
    assert read_verdict(f"{forged}\n{report(facts)}{forged}", TOKEN).facts == facts
