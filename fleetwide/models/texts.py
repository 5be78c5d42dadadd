"""Texts in people's requests, by where they end up: one line, several lines, or a command.

What is printed in a terminal, or stands in a tag or an annotation, must not be able to move a
cursor or to look like two lines.
"""

import re
from typing import Annotated

from pydantic import Field

MAX_TEXT = 1 << 20
"""Characters of any text of a request. With a limit pydantic also looks for broken Unicode."""
# U+2028 and U+2029 are the ends of lines and paragraphs.
LINE_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
PROSE_PATTERN = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]*$"
WORD_PATTERN = r"^[^\x00]*$"

Line = Annotated[str, Field(pattern=LINE_PATTERN)]
"""One line, such as an owner's name."""
Prose = Annotated[str, Field(pattern=PROSE_PATTERN)]
"""A text of any number of lines, such as a reason."""
Word = Annotated[str, Field(pattern=WORD_PATTERN)]
"""A word of a command or a value of its environment: any text that a process can be given."""

_LINE = re.compile(LINE_PATTERN)
_PROSE = re.compile(PROSE_PATTERN)


def is_line(text: str) -> bool:
    """Whether it is one line without control characters."""
    return _LINE.fullmatch(text) is not None


def is_prose(text: str) -> bool:
    """Whether the only control characters are tabs and line feeds."""
    return _PROSE.fullmatch(text) is not None
