"""BaseOS: the spec of an operating system release, and the plan that it becomes."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, field_validator, model_validator

from fleetwide.models.base import Bytes, Name, Record, Spec
from fleetwide.models.texts import Line, is_line

PACKAGE_PATTERN = r"^[a-z0-9][a-z0-9+.-]{1,127}$"
VERSION_PATTERN = r"^[0-9A-Za-z][0-9A-Za-z.+~-]{0,62}$"
URL_PATTERN = r"^https?://[^\s\x00-\x1f\x7f-\x9f\"'\[\]@]+$"
WORKDIR_PATTERN = r"^/[^\s\x00-\x1f\x7f-\x9f]*$"
KEYRING_PATTERN = r"^/usr/share/keyrings/[A-Za-z0-9._-]+$"
ACCOUNT_PATTERN = r"^[0-9]{12}$"
ORGANIZATION_PATTERN = r"^arn:aws[a-z-]*:organizations::[0-9]{12}:(organization|ou)/[a-z0-9/-]+$"
UNIT_PATTERN = (
    r"^[A-Za-z0-9:_.@-]{1,200}\.(service|socket|timer|target|mount|path|slice|automount|swap)$"
)
MAX_INLINE_BYTES = 96 * 1024
MIB = 1024**2

Version = Annotated[str, Field(pattern=VERSION_PATTERN, examples=["20261122.1"])]
Package = Annotated[str, Field(pattern=PACKAGE_PATTERN)]
Suite = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,31}(/updates)?$", examples=["bookworm"])]
Component = Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]
MirrorUrl = Annotated[str, Field(pattern=URL_PATTERN)]
Keyring = Annotated[str, Field(pattern=KEYRING_PATTERN)]
Owner = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}(:[a-z0-9_-]{1,32})?$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", examples=["eu-west-1"])]


def _inside(path: str) -> str:
    parts = path.split("/")[1:]
    if not path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ValueError("must be an absolute path without empty, . or .. parts")
    if parts[0] in ("proc", "sys", "dev", "run"):
        raise ValueError(f"/{parts[0]} is no part of an image")
    if not is_line(path):
        raise ValueError("must not hold control characters")
    return path


ImagePath = Annotated[str, Field(max_length=1000, examples=["/etc/motd"]), AfterValidator(_inside)]


class Distribution(StrEnum):
    """The distributions that BaseOS builds."""

    DEBIAN = "debian"
    UBUNTU = "ubuntu"


class Architecture(StrEnum):
    """Debian's names of the architectures that a release can be built for."""

    AMD64 = "amd64"
    ARM64 = "arm64"


class Variant(StrEnum):
    """How much of the distribution goes in, in mmdebstrap's terms."""

    ESSENTIAL = "essential"
    APT = "apt"
    MINBASE = "minbase"
    IMPORTANT = "important"


class Target(StrEnum):
    """The faces of a release: what is made of its one set of packages."""

    CONTAINER = "container"
    VM = "vm"


class Face(StrEnum):
    """A set of packages in the lock; ``tools`` write the disk and go into no image."""

    CONTAINER = "container"
    VM = "vm"
    TOOLS = "tools"


class BootMode(StrEnum):
    """How the firmware finds the boot loader."""

    BIOS = "bios"
    UEFI = "uefi"


class Trim(StrEnum):
    """What a container base does without; copyright files always stay."""

    DOCS = "docs"
    MAN = "man"
    LOCALES = "locales"


class RebuildOn(StrEnum):
    """Which changes of the lock make a new release."""

    ANY = "any"
    SECURITY = "security"


class AptSource(Spec):
    """One more archive to take packages from."""

    url: MirrorUrl
    suite: Suite
    components: Annotated[list[Component], Field(min_length=1)] = ["main"]
    keyring: Keyring
    """Keyring file on the builder that signs the archive."""


class FileSpec(Spec):
    """A file (``content``) or a symbolic link (``link``) in the image."""

    path: ImagePath
    content: Annotated[str, Field(max_length=MAX_INLINE_BYTES)] | None = None
    link: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,1000}$")] | None = None
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$", examples=["0644"])] = "0644"
    """Permission bits in octal; setuid and setgid are not offered."""
    owner: Owner = "root:root"
    targets: list[Target] = [Target.CONTAINER, Target.VM]

    @model_validator(mode="after")
    def _one_of_two(self) -> "FileSpec":
        if (self.content is None) == (self.link is None):
            raise ValueError("needs either content or link")
        return self


class UserSpec(Spec):
    """An account; its password is locked."""

    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
    uid: Annotated[int, Field(ge=1, le=60000)]
    groups: list[Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]] = []
    home: ImagePath | None = None
    """Unset means no home folder."""
    shell: ImagePath = "/usr/sbin/nologin"
    authorized_keys: list[
        Annotated[str, Field(pattern=r"^(ssh-|ecdsa-|sk-)[^\x00-\x1f]+$", max_length=2000)]
    ] = []

    @model_validator(mode="after")
    def _keys_need_a_home(self) -> "UserSpec":
        if self.authorized_keys and self.home is None:
            raise ValueError("authorized_keys need a home")
        return self


class UnitSpec(Spec):
    """A systemd unit of the VM: its content, and whether it starts by itself."""

    name: Annotated[str, Field(pattern=UNIT_PATTERN)]
    content: Annotated[str, Field(max_length=MAX_INLINE_BYTES)] | None = None
    """Unset means that a package brings the unit."""
    enabled: bool = True
    masked: bool = False


class ScriptSpec(Spec):
    """The escape hatch: a shell script that runs inside the build root, without a network."""

    name: Name
    run: Annotated[str, Field(min_length=1, max_length=MAX_INLINE_BYTES)]
    targets: list[Target] = [Target.CONTAINER, Target.VM]


class CommandTest(Spec):
    """A command that must end with exit code 0, in the build root and again in the booted VM."""

    name: Name
    run: Annotated[str, Field(min_length=1, max_length=4000)]


class TestSpec(Spec):
    """What a release must pass before anyone can use it."""

    __test__ = False  # pytest takes the name for a test class

    boot: bool = True
    """Boot the VM image for real."""
    boot_timeout_seconds: Annotated[int, Field(ge=30, le=3600)] = 600
    commands: list[CommandTest] = []
    setuid_allowed: list[ImagePath] = []
    """Further setuid and setgid files; those of the distribution's own packages are known."""


class VmSpec(Spec):
    """The VM face."""

    size: Annotated[Bytes, Field(ge=512 * MIB, le=64 * 1024 * MIB, examples=["2GiB"])] = ByteSize(
        2 * 1024 * MIB
    )
    boot: BootMode = BootMode.BIOS
    kernel: Package | None = None
    """Kernel package; unset means the distribution's own for clouds."""
    packages: list[Package] = []
    """Packages that only the VM gets."""
    cmdline: Annotated[str, Field(pattern=r"^[A-Za-z0-9_=.,:/ -]{0,500}$")] = ""
    """More kernel parameters."""


class AmiSpec(Spec):
    """Where the VM image is published as an AMI, and who may launch it."""

    regions: Annotated[list[Region], Field(min_length=1, max_length=40)]
    """The first one gets the snapshot; the others get copies."""
    accounts: list[Annotated[str, Field(pattern=ACCOUNT_PATTERN)]] = []
    organizations: list[Annotated[str, Field(pattern=ORGANIZATION_PATTERN)]] = []
    deprecate_after_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    tags: dict[Annotated[Line, Field(max_length=128)], Annotated[Line, Field(max_length=256)]] = {}


class PromotionSpec(Spec):
    """The way to the stable channel."""

    soak_hours: Annotated[float, Field(ge=0, le=24 * 90)] = 0
    """How long a release must have been a candidate before it can become stable."""
    automatic: bool = False
    """Promote by itself when the soak is over."""


class RetentionSpec(Spec):
    """Which old releases are retired; one that is in use never is."""

    keep: Annotated[int, Field(ge=1, le=1000)] = 10
    """The newest releases stay, whatever their age."""
    max_age_days: Annotated[int, Field(ge=1, le=3650)] = 180
    """Beyond ``keep``, a release older than this is retired."""


class OSImageSpec(Spec):
    """Input of the ``OSImageBuild`` workflow: one operating system release."""

    name: Name
    """The line of releases, for example ``baseos``."""
    version: Version | None = None
    """Unset means today's date and a running number, for example 20261122.1."""
    distribution: Distribution = Distribution.DEBIAN
    suite: Suite
    architecture: Architecture = Architecture.AMD64
    variant: Variant = Variant.MINBASE
    components: list[Component] = ["main"]
    mirror: MirrorUrl | None = None
    """Package mirror; unset means the builder's setting, else the distribution's own."""
    security_mirror: MirrorUrl | None = None
    """Mirror of the security suite; unset means the distribution's own."""
    security: bool = True
    """Take the updates and security suites too, where the suite has them."""
    keyring: Keyring | None = None
    """Keyring file on the builder that signs the mirror; unset means the distribution's own."""
    sources: list[AptSource] = []
    """Further archives."""
    packages: list[Package] = []
    """Packages on top of the variant, for every target."""
    exclude: list[Package] = []
    """Packages that must not come in, not even as a dependency."""
    targets: Annotated[list[Target], Field(min_length=1)] = [Target.CONTAINER]
    trim: list[Trim] = [Trim.DOCS, Trim.MAN, Trim.LOCALES]
    """What the container base does without."""
    files: list[FileSpec] = []
    users: list[UserSpec] = []
    units: list[UnitSpec] = []
    sysctls: dict[
        Annotated[str, Field(pattern=r"^[a-z0-9_]+([./][A-Za-z0-9_*.-]+)+$")],
        Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,200}$")] | int,
    ] = {}
    scripts: list[ScriptSpec] = []
    vm: VmSpec = VmSpec()
    ami: AmiSpec | None = None
    tests: TestSpec = TestSpec()
    promotion: PromotionSpec = PromotionSpec()
    retention: RetentionSpec = RetentionSpec()
    source_date_epoch: Annotated[int, Field(ge=0, le=4_102_444_800)] | None = None
    """Seconds since 1970 that every file time is clamped to; unset means the newest package's."""
    rebuild_on: RebuildOn = RebuildOn.ANY
    force: bool = False
    """Build even when nothing has changed since the last release."""
    owner: Line = Field(default="", max_length=200)

    @field_validator("packages", "components", "exclude", "targets", "trim")
    @classmethod
    def _no_repeats(cls, value: list[str]) -> list[str]:
        repeated = sorted({str(item) for item in value if value.count(item) > 1})
        if repeated:
            raise ValueError(f"repeats {', '.join(repeated)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "OSImageSpec":
        both = sorted({*self.packages, *self.vm.packages} & set(self.exclude))
        if both:
            raise ValueError(f"exclude: {', '.join(both)} is asked for in packages")
        if self.ami is not None and Target.VM not in self.targets:
            raise ValueError("ami: needs the target vm")
        no_bios = self.architecture is Architecture.ARM64 and Target.VM in self.targets
        if no_bios and self.vm.boot is BootMode.BIOS:
            raise ValueError("vm.boot: arm64 has no BIOS; it must be uefi")
        texts = [file.content or "" for file in self.files]
        texts += [unit.content or "" for unit in self.units]
        inline = sum(map(len, [*texts, *(script.run for script in self.scripts)]))
        if inline > MAX_INLINE_BYTES:
            raise ValueError(
                f"files, units and scripts hold {inline} characters; "
                f"the limit is {MAX_INLINE_BYTES} (put more into a package)"
            )
        return self


class BuildPlan(Record):
    """A spec with its version and its place in the registry."""

    workflow_id: str
    spec: OSImageSpec
    name: str
    version: str
    repository: str
    tag: str
    parent: str | None = None
    """The version of the line's release before this one."""
