"""The order of Debian versions, as dpkg has it (Debian Policy 5.6.12).

``[epoch:]upstream[-revision]``: text and digits are compared in turns; letters sort before other
signs, and ``~`` before everything, even before the end.
"""

import re
from typing import TypeAlias

_Part: TypeAlias = tuple[tuple[int, ...], tuple[int, str]]
VersionKey: TypeAlias = tuple[tuple[int, str], tuple[_Part, ...], tuple[_Part, ...]]

_PARTS = re.compile(r"([^0-9]*)([0-9]*)")


def version_key(version: str) -> VersionKey:
    """A key that sorts versions as dpkg orders them; equal for versions that dpkg calls equal."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon:
        epoch, rest = "", version.strip()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return _number(epoch), _parts(upstream), _parts(revision)


def compare_versions(one: str, other: str) -> int:
    """-1, 0 or 1: whether ``one`` is older than, as old as, or newer than ``other``."""
    left, right = version_key(one), version_key(other)
    return (left > right) - (left < right)


def _parts(text: str) -> tuple[_Part, ...]:
    # Nothing and "0" are the same to dpkg. The last part is always empty: it stands for the end,
    # which weighs more than "~" and less than all else.
    return tuple((_letters(word), _number(digits)) for word, digits in _PARTS.findall(text or "0"))


def _letters(word: str) -> tuple[int, ...]:
    return (*map(_weight, word), 0)


def _weight(sign: str) -> int:
    if sign == "~":
        return -1
    return ord(sign) if sign.isascii() and sign.isalpha() else ord(sign) + 0x110000


def _number(digits: str) -> tuple[int, str]:
    """Orders like the number itself, without a limit on its length."""
    plain = digits.lstrip("0")
    return len(plain), plain
