"""Whole control files: the paragraphs of a package index, and dpkg's status."""

from collections.abc import Iterator

from fleetwide.baseos.stanzas import parse_stanza


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of ``text``, each as it stands there, without the empty lines between them."""
    for part in text.split("\n\n"):
        if part.strip("\n"):
            yield part.strip("\n")


def installed_packages(status: str) -> dict[str, str]:
    """Installed packages and their versions from dpkg's status file, ordered by name."""
    installed = {}
    for paragraph in paragraphs(status):
        entry = parse_stanza(paragraph)
        if entry.get("status", "").endswith(" installed"):
            installed[entry["package"]] = entry["version"]
    return dict(sorted(installed.items()))
