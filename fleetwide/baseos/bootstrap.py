"""The mmdebstrap command of a locked build, and what its output means."""

from dataclasses import dataclass

from fleetwide.models.baseos import Architecture, Face, OSImageSpec, Trim, Variant

# Sources: mmdebstrap(1); dpkg(1) for the path filters. Copyright files always stay.
TRIMMED: dict[Trim, tuple[str, ...]] = {
    Trim.DOCS: (
        "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/lintian/*",
        "path-exclude=/usr/share/linda/*",
    ),
    Trim.MAN: ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/groff/*"),
    Trim.LOCALES: (
        "path-exclude=/usr/share/locale/*",
        "path-include=/usr/share/locale/locale.alias",
    ),
}
# Nobody reads the tree before it is whole, so dpkg need not wait for the disk at every file.
FAST_DPKG = "force-unsafe-io"

# Share of the build's time that lies behind when mmdebstrap prints the line (measured, minbase).
_STAGES: dict[str, tuple[str, float]] = {
    "running apt-get update": ("reading the locked index", 0.02),
    "downloading packages with apt": ("taking packages from the pool", 0.05),
    "extracting archives": ("extracting packages", 0.15),
    "installing essential packages": ("installing essential packages", 0.35),
    "installing remaining packages": ("installing packages", 0.6),
    "cleaning package lists": ("removing caches and lists", 0.97),
}


# Makes the links of a merged /usr before the first package is unpacked; mmdebstrap brings it.
MERGE_USR_HOOK = "/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh"


@dataclass(frozen=True)
class Bootstrap:
    """One run of mmdebstrap: a face's packages from a private mirror into a folder."""

    variant: str
    architecture: Architecture
    suite: str
    include: list[str]
    merged_usr: bool
    """Whether /usr is to be merged from the start, instead of by a package's script."""
    trim: list[Trim]
    mirror: str
    target: str


def variant_of(spec: OSImageSpec, face: Face) -> str:
    """Tools are only unpacked: nothing of theirs runs before it is asked for."""
    return "extract" if face is Face.TOOLS else Variant(spec.variant).value


def trim_config(trim: list[Trim]) -> str:
    """The dpkg configuration of an image that was trimmed: later packages are trimmed too."""
    return "".join(f"{line}\n" for kind in sorted(trim) for line in TRIMMED[kind])


def mmdebstrap_command(run: Bootstrap) -> list[str]:
    """The argument list. The mirror is private and its packages are checked, so it is trusted."""
    filters = [line for kind in sorted(run.trim) for line in TRIMMED[kind]]
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={run.variant}",
        f"--architectures={run.architecture}",
        "--components=main",
        *([f"--include={','.join(run.include)}"] if run.include else []),
        *(f"--dpkgopt={option}" for option in (FAST_DPKG, *filters)),
        *([f"--setup-hook={MERGE_USR_HOOK}"] if run.merged_usr else []),
        run.suite,
        run.target,
        f"deb [trusted=yes] copy:{run.mirror} {run.suite} main",
    ]


def read_progress(line: str) -> tuple[str, float] | None:
    """A short phrase and the fraction done (0 to 1) when ``line`` starts a stage, else None."""
    text = line.removeprefix("I: ")
    for start, stage in _STAGES.items():
        if text.startswith(start):
            return stage
    return None
