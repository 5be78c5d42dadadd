"""Secrets by their looks: which file of an image, which line, what kind; never the secret itself.

Only places that packages do not fill are read (``is_scanned``): the test keys in /usr/share are
public. What a rule finds may be harmless, but an image is copied so widely that it is not worth it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import re2

MAX_FILE = 1024**2
"""Longer files are not read: a secret is small."""
URL_KIND = "credentials in a URL"
SCANNED = ("etc/", "root/", "home/", "var/", "opt/", "usr/local/", "srv/")
# The test suites of installed libraries hold keys that everybody knows.
_PUBLIC = re.compile(r"(?:dist-packages|site-packages|node_modules)/(?:.*/)?(?:tests?|testdata)/")
# AWS's own documentation uses them.
_EXAMPLES = (b"AKIAIOSFODNN7EXAMPLE", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_UNSET = frozenset({"*", "!", "!*", "!!", "x", ""})


@dataclass(frozen=True)
class _Rule:
    """A kind of secret: its pattern, and the paths it is looked for in (all, when unset).

    Every match of a pattern with a ``sign`` (an expression too) begins with one of its sign.
    """

    kind: str
    pattern: re.Pattern[bytes]
    places: re.Pattern[str] | None = None
    sign: bytes = b""


def _anywhere(kind: str, sign: bytes, rest: bytes) -> _Rule:
    return _Rule(kind, re.compile(sign + rest), sign=sign)


def _inside(kind: str, places: str, pattern: bytes) -> _Rule:
    return _Rule(kind, re.compile(pattern, re.MULTILINE), re.compile(places))


# Each takes a time linear in the file: a tree may be made to stall its reader. A pattern is found
# many times faster when it starts with letters than with a boundary or a choice: so whether a
# token starts a word is asked by looking back after its prefix, and two prefixes make two rules.
_RULES = (
    # The marker alone also stands in programs that read keys; a key follows it with its material.
    _anywhere(
        "a private key",
        rb"-----BEGIN ",
        rb"(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])+"
        rb"(?:[A-Za-z-]+:[^\n]*\n\s*)*[A-Za-z0-9+/=]{16}",
    ),
    _anywhere("a private key of PuTTY", rb"PuTTY-User-Key-File-", rb"[0-9]+:"),
    _anywhere("a private key of age", rb"AGE-SECRET-KEY-1", rb"[0-9A-Z]{58}"),
    _anywhere("an AWS access key id", rb"AKIA", rb"(?<!\wAKIA)[A-Z0-9]{16}\b"),
    _anywhere("an AWS access key id", rb"ASIA", rb"(?<!\wASIA)[A-Z0-9]{16}\b"),
    _anywhere(
        "an AWS secret access key",
        rb"(?i:aws_?secret_?access_?key)",
        rb"[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    ),
    _anywhere("a GitHub token", rb"gh[pousr]_", rb"(?<!\wgh[pousr]_)[A-Za-z0-9]{36}"),
    _anywhere("a GitHub token", rb"github_pat_", rb"(?<!\wgithub_pat_)[A-Za-z0-9_]{22}"),
    _anywhere("a GitLab token", rb"glpat-", rb"(?<!\wglpat-)[A-Za-z0-9_-]{20}"),
    _anywhere("a Slack token", rb"xox[abeoprs]-", rb"(?<!\wxox[abeoprs]-)[A-Za-z0-9-]{10}"),
    _anywhere("a Slack webhook", rb"hooks\.slack\.com/services/T", rb"[A-Z0-9]+/B[A-Z0-9]+/\w+"),
    _anywhere("a Google API key", rb"AIza", rb"(?<!\wAIza)[A-Za-z0-9_-]{35}"),
    _anywhere("an npm token", rb"npm_", rb"(?<!\wnpm_)[A-Za-z0-9]{36}\b"),
    _anywhere("a PyPI token", rb"pypi-", rb"(?<!\wpypi-)AgEIcHlwaS5vcmc[A-Za-z0-9_-]{20}"),
    _inside("a password", r"(?:.*/)?\.?netrc|etc/apt/auth\.conf(?:\.d/.*)?", rb"\bpassword\s+\S"),
    _inside("a database password", r".*/\.pgpass", rb"^[^#\n]+:[^\n]+"),
    _inside("git credentials", r".*/\.git-credentials", rb"^[a-z]+://[^\n]+"),
    _inside(
        "registry credentials",
        r".*/\.(?:docker|config/containers)/(?:config|auth)\.json",
        rb"\"(?:auth|identitytoken|registrytoken)\"\s*:\s*\"[^\"]+",
    ),
    _inside(
        "registry credentials", r".*/\.(?:npmrc|pypirc)", rb"(?:_auth|password)\w{0,40}\s*=\s*\S"
    ),
    _inside("cluster credentials", r".*/\.kube/config", rb"(?:client-key-data|token):\s*\S"),
    _inside(
        URL_KIND,
        r"etc/.*|.*/pip\.conf",
        rb"://[^\s:@/\"'<>]{1,200}:[^\s@/\"'<>]{1,200}@[A-Za-z0-9\[]",
    ),
    _inside("a shell's or client's history", r"(?:root|home/[^/]+)/\.\w*history", rb"."),
    _inside(
        "the state of a cloud-init instance", r"var/lib/cloud/(?:instances?|data|seed)/.+", rb"."
    ),
)
# Most files hold no sign of any rule. RE2 looks for all of them at once, in linear time and with
# other threads going on; what it finds is judged by the rules themselves.
_SIGNS = re2.compile(b"|".join(rule.sign for rule in _RULES if rule.sign))


def is_scanned(path: str, size: int) -> bool:
    """Whether the regular file at ``path`` (relative, ``size`` bytes) is to be read."""
    return 0 < size <= MAX_FILE and path.startswith(SCANNED) and not _PUBLIC.search(path)


def find_leaks(path: str, content: bytes) -> Iterator[str]:
    """For each kind of secret in a file the line of the first: ``line 3 holds a private key``."""
    found: dict[str, int] = {}
    has_sign = _SIGNS.search(content) is not None
    for rule in _RULES:
        # A rule without a sign has places instead.
        applies = rule.places.fullmatch(path) if rule.places else has_sign
        if applies:
            place = _first(rule, content)
            if place is not None:
                found[rule.kind] = min(place, found.get(rule.kind, place))
    for kind, place in found.items():
        line = content.count(b"\n", 0, place) + 1
        yield f"line {line} holds {kind}"
    if path.removesuffix("-") in ("etc/shadow", "etc/gshadow", "etc/passwd"):
        yield from _hashes(path, content.decode(errors="replace"))


def _first(rule: _Rule, content: bytes) -> int | None:
    for match in rule.pattern.finditer(content):
        comment = rule.kind == URL_KIND and _is_comment(content, match.start())
        if not comment and not any(example in match[0] for example in _EXAMPLES):
            return match.start()
    return None


def _is_comment(content: bytes, place: int) -> bool:
    """Explanations of how to write such a URL are common."""
    start = content.rfind(b"\n", 0, place) + 1
    return content[start : start + 80].lstrip().startswith((b"#", b"//", b";"))


def _hashes(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        name, *fields = line.split(":")
        if not fields:
            continue
        if fields[0] == "" and "gshadow" not in path:
            yield f"line {number} lets {name} in without a password"
        elif fields[0].lstrip("!*") not in _UNSET:
            yield f"line {number} holds the password hash of {name}"
