"""Addresses without what only their users may know."""

from urllib.parse import urlsplit, urlunsplit


def public_url(url: str | None) -> str:
    """The address without user, password, query and fragment: those may hold a key to it.

    What is no address at all becomes the empty text.
    """
    try:
        parts = urlsplit(url or "")
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
