"""Pages of a listing: ``n`` and ``last`` on the way in, a Link to the next on the way out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from api.oci.errors import OciError
from api.oci.replies import Header, header
from api.oci.requests import Request

MAX_ITEMS = 1000
"""More in one answer is not given; who asks for more gets these and a Link."""
_NAME = re.compile(r"[ -~]{0,300}", re.ASCII)


@dataclass(frozen=True)
class Page:
    """What of a listing is asked for."""

    size: int
    after: str

    @property
    def look(self) -> int:
        """One more than is shown tells whether there is a next page."""
        return self.size + 1


def page_of(request: Request) -> Page:
    """The page that a request asks for; without ``n`` as many as one answer has.

    Raises:
        OciError: ``n`` is no number, or ``last`` nothing that a listing could end with.
    """
    number, last = request.parameter("n"), request.parameter("last") or ""
    if number is not None and not (number.isascii() and number.isdigit()):
        raise OciError(400, "PAGINATION_NUMBER_INVALID", "n must be a number of items")
    if _NAME.fullmatch(last) is None:
        raise OciError(400, "UNSUPPORTED", "last must be the last name of the page before")
    return Page(MAX_ITEMS if number is None else min(int(number[:9]), MAX_ITEMS), last)


def next_link(path: str, page: Page, last: str, more: Mapping[str, str] | None = None) -> Header:
    """The Link to what follows ``last``."""
    query = urlencode({**(more or {}), "n": page.size, "last": last})
    return header("link", f'<{path}?{query}>; rel="next"')
