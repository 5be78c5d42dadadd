import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.baseos.leaks import find_leaks

# The plain way to say what each token looks like: at the start of a word, so and so many letters.
KINDS = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])+"
    rb"(?:[A-Za-z-]+:[^\n]*\n\s*)*[A-Za-z0-9+/=]{16}",
    "an AWS access key id": rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "an AWS secret access key": rb"(?i:aws_?secret_?access_?key)[\"']?\s*[=:]\s*[\"']?"
    rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22})",
    "a GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "a Slack token": rb"\bxox[abeoprs]-[A-Za-z0-9-]{10}",
    "a Google API key": rb"\bAIza[A-Za-z0-9_-]{35}",
    "an npm token": rb"\bnpm_[A-Za-z0-9]{36}\b",
    "a PyPI token": rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{20}",
}
EXAMPLES = (b"AKIA" + b"IOSFODNN7EXAMPLE", b"wJalrXUtnFEMI/K7MDENG/" + b"bPxRfiCYEXAMPLEKEY")
PREFIXES = [
    *(b"AKIA", b"ASIA", b"ghp_", b"ghr_", b"github_pat_", b"glpat-", b"xoxb-", b"xoxs-", b"AIza"),
    *(b"npm_", b"pypi-", b"pypi-AgEIcHlwaS5vcmc", b"-----BEGIN RSA PRIVATE KEY-----\n"),
    *(b"aws_secret_access_key", b"AWSSecretAccessKey", b"AWS_SECRET_ACCESS_KEY", b" = ", b': "'),
]
LETTERS = [b"A" * 16, b"7" * 22, b"Q" * 35, b"Z" * 36, b"b" * 10, b"/" * 40, b"k" * 40]
JOINTS = [b" ", b"\n", b"_", b"-", b"x", b"9", b'"', b"\xe9", b"\0"]
contents = st.lists(st.sampled_from([*PREFIXES, *LETTERS, *JOINTS, *EXAMPLES]), max_size=12).map(
    b"".join
)


def expected(content: bytes) -> Sequence[str]:
    found = []
    for kind, pattern in KINDS.items():
        for match in re.finditer(pattern, content):
            if not any(example in match[0] for example in EXAMPLES):
                line = content.count(b"\n", 0, match.start()) + 1
                found.append(f"line {line} holds {kind}")
                break
    return found


@settings(max_examples=1500, deadline=None)
@given(contents)
def test_the_fast_search_finds_what_the_plain_one_finds(content: bytes) -> None:
    assert list(find_leaks("opt/app/settings", content)) == expected(content)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(JOINTS),
    st.sampled_from(PREFIXES),
    st.sampled_from(LETTERS),
    st.sampled_from(JOINTS),
)
def test_a_token_counts_where_it_starts_a_word(
    before: bytes, prefix: bytes, letters: bytes, after: bytes
) -> None:
    content = before + prefix + letters + after
    assert list(find_leaks("opt/app/settings", content)) == expected(content)
