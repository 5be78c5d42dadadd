"""The mmdebstrap command of a build plan, and what its output means."""

from shlex import quote

from fleetwide.models.baseos import BuildPlan, Distribution

KEYRING_FOLDER = "/usr/share/keyrings"
KEYRINGS: dict[Distribution, str] = {
    Distribution.DEBIAN: f"{KEYRING_FOLDER}/debian-archive-keyring.gpg",
    Distribution.UBUNTU: f"{KEYRING_FOLDER}/ubuntu-archive-keyring.gpg",
}
KEYRING_PACKAGES: dict[Distribution, str] = {
    Distribution.DEBIAN: "debian-archive-keyring",
    Distribution.UBUNTU: "ubuntu-keyring",
}

# What must not be shared between machines (host keys, machine id, random seed), what differs
# from run to run (logs, backups, caches), and what is stale at once (the package index).
FINALISE = (
    'rm -rf "$1"/etc/ssh/ssh_host_*_key "$1"/etc/ssh/ssh_host_*_key.pub'
    ' "$1"/var/lib/systemd/random-seed "$1"/var/lib/systemd/credential.secret'
    ' "$1"/var/cache/debconf/*-old "$1"/var/cache/ldconfig/aux-cache'
    ' "$1"/var/lib/dpkg/*-old "$1"/var/log/*.log "$1"/var/log/apt/*; '
    'find "$1"/var/log -type f -exec truncate -s 0 {} +; '
    ': > "$1"/etc/machine-id'
)

# Share of the build's time that lies behind when mmdebstrap prints the line (measured, minbase).
_STAGES: dict[str, tuple[str, float]] = {
    "running apt-get update": ("reading the package index", 0.05),
    "downloading packages with apt": ("downloading packages", 0.25),
    "extracting archives": ("extracting packages", 0.4),
    "installing essential packages": ("installing essential packages", 0.5),
    "installing remaining packages": ("installing packages", 0.65),
    "cleaning package lists": ("removing caches and lists", 0.9),
    "creating tarball": ("writing the tar", 0.93),
}


def keyring_of(plan: BuildPlan) -> str:
    """The keyring file that must vouch for the mirror."""
    return plan.spec.keyring or KEYRINGS[plan.spec.distribution]


def mmdebstrap_command(plan: BuildPlan, target: str, default_mirror: str | None) -> list[str]:
    """The argument list that writes the plan's root file system as a tar to ``target``.

    Without a mirror in the spec or in ``default_mirror`` none is given: mmdebstrap then knows the
    usual one of each Debian and Ubuntu suite. Device nodes are left out: containers bring theirs.
    """
    spec = plan.spec
    mirror = spec.mirror or default_mirror
    include = [f"--include={','.join(sorted(spec.packages))}"] if spec.packages else []
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=tar",
        f"--variant={spec.variant}",
        f"--architectures={spec.architecture}",
        f"--components={','.join(spec.components)}",
        f"--keyring={keyring_of(plan)}",
        *include,
        "--skip=output/dev",
        f"--customize-hook={_os_release_hook(plan)}",
        f"--customize-hook={FINALISE}",
        spec.suite,
        target,
        *([mirror] if mirror else []),
    ]


def _os_release_hook(plan: BuildPlan) -> str:
    """Tell a person inside a container which OS release it is."""
    lines = f'IMAGE_ID="{plan.name}"\nIMAGE_VERSION="{plan.version}"\n'
    return f"printf '%s' {quote(lines)} >> \"$1\"/usr/lib/os-release"


def read_progress(line: str) -> tuple[str, float] | None:
    """A short phrase and the fraction done (0 to 1) when ``line`` starts a stage, else None."""
    text = line.removeprefix("I: ")
    for start, stage in _STAGES.items():
        if text.startswith(start):
            return stage
    return None


def parse_dpkg_status(text: str) -> dict[str, str]:
    """Installed packages and their versions from dpkg's status file."""
    installed = {}
    for stanza in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status", "").endswith(" installed"):
            installed[fields["Package"]] = fields["Version"]
    return dict(sorted(installed.items()))
