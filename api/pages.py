"""HTML pages for people, without scripts: every text is escaped, links lead within the site."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from urllib.parse import urlencode

from fastapi import Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
td { overflow-wrap: anywhere; } code { font-size: .9em; } nav a { margin-right: 1rem; }
"""


class Html(str):
    """Markup that is safe already; any other text is escaped where it is put in."""

    __slots__ = ()


def text(value: object) -> Html:
    """``value`` as markup: times in UTC, nothing as a dash."""
    if isinstance(value, Html):
        return value
    if isinstance(value, datetime):
        return Html(f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
    return Html(escape(str(value)) if value not in (None, "") else "-")


def link(path: str, query: Mapping[str, str], label: object) -> Html:
    """A link to a page of this site; empty parts of the query are left out."""
    given = {key: value for key, value in query.items() if value}
    address = f"{path}?{urlencode(given)}" if given else path
    return Html(f'<a href="{escape(address)}">{text(label)}</a>')


def code(value: object) -> Html:
    return Html(f"<code>{text(value)}</code>")


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Rows under titles; without rows a sentence."""
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not body:
        return Html("<p>Nothing found.</p>")
    head = "".join(f"<th>{text(title)}</th>" for title in titles)
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def facts(rows: Iterable[tuple[str, object]]) -> Html:
    """Named values, without those that there are not."""
    body = "".join(
        f"<tr><th>{text(title)}</th><td>{text(value)}</td></tr>"
        for title, value in rows
        if value not in (None, "", 0)
    )
    return Html(f"<table><tbody>{body}</tbody></table>")


def search_box(path: str, value: str) -> Html:
    return Html(
        f'<form action="{escape(path)}"><input type="search" name="q" value="{escape(value)}" '
        'aria-label="part of a name"> <button>Search</button></form>'
    )


def page(title: str, *parts: Html) -> Response:
    """A whole page."""
    body = "".join(parts)
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<style>{STYLE}</style></head><body><nav><a href="/registry">Registry</a>'
        f'<a href="/registry/usage">Usage</a><a href="/docs">API</a></nav>'
        f"<h1>{text(title)}</h1>{body}</body></html>"
    )
    return Response(document, media_type="text/html", headers=HEADERS)
