"""The suites of Debian and Ubuntu: who signs them, and which archives belong to each.

Where the archives lie, the spec, the builder's settings or mmdebstrap say. Source: the archives'
own layout, and the tables that mmdebstrap and distro-info-data carry.
"""

from dataclasses import dataclass
from difflib import get_close_matches

from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import Distribution, OSImageSpec
from fleetwide.models.os_locks import LockedSource

KEYRING_FOLDER = "/usr/share/keyrings"
KEYRINGS: dict[Distribution, str] = {
    Distribution.DEBIAN: f"{KEYRING_FOLDER}/debian-archive-keyring.gpg",
    Distribution.UBUNTU: f"{KEYRING_FOLDER}/ubuntu-archive-keyring.gpg",
}
KEYRING_PACKAGES: dict[Distribution, str] = {
    Distribution.DEBIAN: "debian-archive-keyring",
    Distribution.UBUNTU: "ubuntu-keyring",
}
REMOVED_KEYS = f"{KEYRING_FOLDER}/debian-archive-removed-keys.gpg"

# In an archive of old releases, where nothing is updated any more.
DEBIAN_ARCHIVED = (
    "potato",
    "woody",
    "sarge",
    "etch",
    "lenny",
    "squeeze",
    "wheezy",
    "jessie",
    "stretch",
    "buster",
)
DEBIAN_ROLLING = ("forky", "duke", "testing", "sid", "unstable")
DEBIAN_SUPPORTED = ("bullseye", "bookworm", "trixie", "stable", "oldstable")
UBUNTU_SUPPORTED = ("trusty", "xenial", "bionic", "focal", "jammy", "noble", "resolute")
UBUNTU_OVER = (
    "zesty",
    "artful",
    "cosmic",
    "disco",
    "eoan",
    "groovy",
    "hirsute",
    "impish",
    "kinetic",
    "lunar",
    "mantic",
    "oracular",
    "plucky",
    "questing",
)
SUITES: dict[Distribution, tuple[str, ...]] = {
    Distribution.DEBIAN: (*DEBIAN_ARCHIVED, *DEBIAN_SUPPORTED, *DEBIAN_ROLLING),
    Distribution.UBUNTU: (*UBUNTU_SUPPORTED, *UBUNTU_OVER),
}


@dataclass(frozen=True)
class Mirrors:
    """Where packages lie; None means that somebody else must say so."""

    main: str | None = None
    security: str | None = None

    def or_else(self, other: "Mirrors") -> "Mirrors":
        """These, and where they say nothing the ``other`` ones."""
        return Mirrors(self.main or other.main, self.security or other.security)


def check_suite(spec: OSImageSpec) -> None:
    """Refuse a suite that nobody has heard of; with a mirror of one's own any name goes.

    Raises:
        InvalidInput: names the nearest known suite, or the distribution that has this one.
    """
    known = SUITES[spec.distribution]
    if spec.suite in known or spec.mirror:
        return
    owner = next((one for one, suites in SUITES.items() if spec.suite in suites), None)
    near = get_close_matches(spec.suite, known, n=1)
    hint = f"known suites: {', '.join(known)}; for another one give `mirror` and `keyring`"
    if owner is not None:
        hint = f"distribution: {owner}"
    elif near:
        hint = f"suite: {near[0]}"
    message = f"{spec.distribution} has no such suite"
    raise InvalidInput.for_field("suite", message, given=spec.suite, hint=hint)


def is_archived(suite: str) -> bool:
    """The suite's index is signed for good and has expired long ago."""
    return suite in DEBIAN_ARCHIVED


def named_mirrors(spec: OSImageSpec, settings: Mirrors) -> Mirrors:
    """What the spec says, then the builder's settings.

    Raises:
        InvalidInput: the suite has left the mirrors, and nobody names one that keeps it.
    """
    named = Mirrors(spec.mirror, spec.security_mirror).or_else(settings)
    if spec.suite in UBUNTU_OVER:
        # Old releases lie with their last security updates in one place.
        named = named.or_else(Mirrors(security=named.main))
    if named.main is None and (is_archived(spec.suite) or spec.suite in UBUNTU_OVER):
        raise InvalidInput.for_field(
            "mirror",
            f"{spec.suite} has left the mirrors of {spec.distribution}; name one that keeps it",
            hint=f"mirror: the address of {spec.distribution}'s archive of old releases",
        )
    return named


def is_settled(spec: OSImageSpec, mirrors: Mirrors) -> bool:
    """Whether the mirrors say all that the spec needs."""
    needs_security = spec.security and _is_updated(spec)
    return mirrors.main is not None and (mirrors.security is not None or not needs_security)


def sources_of(spec: OSImageSpec, mirrors: Mirrors) -> list[LockedSource]:
    """Every archive that the spec draws on, the suite itself first; the mirrors are settled."""
    keyring = spec.keyring or _keyring(spec)
    components = list(spec.components)

    def source(url: str, suite: str, *, security: bool = False) -> LockedSource:
        return LockedSource(
            url=url, suite=suite, components=components, keyring=keyring, security=security
        )

    assert mirrors.main is not None
    found = [source(mirrors.main, spec.suite)]
    if spec.security and _is_updated(spec):
        assert mirrors.security is not None
        found.append(source(mirrors.main, f"{spec.suite}-updates"))
        found.append(source(mirrors.security, f"{spec.suite}-security", security=True))
    return found + [LockedSource(**extra.model_dump()) for extra in spec.sources]


def filled_in(spec: OSImageSpec, sources: list[LockedSource], kernel: str) -> OSImageSpec:
    """The spec with everything that it leaves to the platform written out."""
    security = next((source.url for source in sources if source.security), spec.security_mirror)
    update = {
        "mirror": sources[0].url,
        "security_mirror": security,
        "keyring": sources[0].keyring,
        "vm": spec.vm.model_copy(update={"kernel": kernel}),
    }
    return spec.model_copy(update=update)


def _keyring(spec: OSImageSpec) -> str:
    return REMOVED_KEYS if is_archived(spec.suite) else KEYRINGS[spec.distribution]


def _is_updated(spec: OSImageSpec) -> bool:
    """A mirror of one's own with a made-up suite has just that suite."""
    if spec.distribution is Distribution.DEBIAN:
        return spec.suite in DEBIAN_SUPPORTED
    return spec.suite in SUITES[Distribution.UBUNTU]


def source_line(source: LockedSource) -> str:
    """The archive as one line of sources.list."""
    signed = f"[signed-by={source.keyring}]"
    return f"deb {signed} {source.url} {source.suite} {' '.join(source.components)}"
