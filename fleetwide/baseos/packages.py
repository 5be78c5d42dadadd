"""Which packages each face of a release asks for; their dependencies are apt's to find."""

from fleetwide.models.baseos import (
    Architecture,
    BootMode,
    Distribution,
    Face,
    OSImageSpec,
    Target,
    Variant,
)

# In apt's pattern language. The essential packages come first in every variant.
ESSENTIAL = "?essential"
VARIANTS: dict[Variant, tuple[str, ...]] = {
    Variant.ESSENTIAL: (ESSENTIAL,),
    Variant.APT: (ESSENTIAL, "apt"),
    Variant.MINBASE: (ESSENTIAL, "apt", "?priority(^required$)"),
    Variant.IMPORTANT: (ESSENTIAL, "apt", "?priority(^required$)", "?priority(^important$)"),
}
KERNELS: dict[tuple[Distribution, Architecture], str] = {
    (Distribution.DEBIAN, Architecture.AMD64): "linux-image-cloud-amd64",
    (Distribution.DEBIAN, Architecture.ARM64): "linux-image-cloud-arm64",
    (Distribution.UBUNTU, Architecture.AMD64): "linux-image-virtual",
    (Distribution.UBUNTU, Architecture.ARM64): "linux-image-virtual",
}
VM_PACKAGES = (
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "netbase",
    "openssh-server",
    "systemd-sysv",
    "udev",
)
# What Ubuntu's cloud-init calls without depending on it: without them its first boot fails.
VM_PACKAGES_OF: dict[Distribution, tuple[str, ...]] = {
    Distribution.DEBIAN: (),
    Distribution.UBUNTU: ("locales", "lsb-release"),
}
# Part of the systemd package in some suites, a package of its own in others.
MAYBE: dict[Face, tuple[str, ...]] = {
    Face.CONTAINER: (),
    Face.VM: ("systemd-resolved", "systemd-timesyncd"),
    Face.TOOLS: (),
}
# Suites that would install usrmerge, and all of Perl for it, to merge /usr after the fact.
MERGED_USR: dict[str, tuple[str, ...]] = {"bookworm": ("usr-is-merged",)}
TOOLS = (
    "base-files",
    "coreutils",
    "dash",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "grub-common",
    "mtools",
    "util-linux",
)
GRUB_MODULES: dict[tuple[Architecture, BootMode], str] = {
    (Architecture.AMD64, BootMode.BIOS): "grub-pc-bin",
    (Architecture.AMD64, BootMode.UEFI): "grub-efi-amd64-bin",
    (Architecture.ARM64, BootMode.UEFI): "grub-efi-arm64-bin",
}


def kernel_of(spec: OSImageSpec) -> str:
    """The kernel package of the VM face."""
    return spec.vm.kernel or KERNELS[spec.distribution, spec.architecture]


def faces_of(spec: OSImageSpec) -> list[Face]:
    """The package sets that the spec's targets need."""
    faces = [Face(target.value) for target in Target if target in spec.targets]
    return [*faces, Face.TOOLS] if Target.VM in spec.targets else faces


def wanted(spec: OSImageSpec, face: Face) -> list[str]:
    """What to ask apt for: patterns of the variant, then names."""
    if face is Face.TOOLS:
        return [*TOOLS, GRUB_MODULES[spec.architecture, spec.vm.boot]]
    variant = [*VARIANTS[spec.variant], *MERGED_USR.get(spec.suite, ())]
    if face is Face.CONTAINER:
        return variant + sorted(spec.packages)
    platform = {*VM_PACKAGES, *VM_PACKAGES_OF[spec.distribution], kernel_of(spec)}
    return variant + sorted({*platform, *spec.packages, *spec.vm.packages})


def included(spec: OSImageSpec, face: Face, available: set[str]) -> list[str]:
    """The names alone, as mmdebstrap's ``--include`` takes them."""
    names = [word for word in wanted(spec, face) if not word.startswith("?")]
    return names + optional(face, available)


def optional(face: Face, available: set[str]) -> list[str]:
    """Names that are taken where the suite has them."""
    return [name for name in MAYBE[face] if name in available]
