"""Bakery policy: an organisation's rules for images, and what looking at one by them yields."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, Field

from fleetwide.models.bakes import LintFinding
from fleetwide.models.base import Bytes, Record, Spec
from fleetwide.models.baseos import ImagePath

MIB = 1024**2


class Rule(StrEnum):
    """What an image is looked over for."""

    ROOT_USER = "root_user"
    SETUID = "setuid"
    WORLD_WRITABLE = "world_writable"
    DEVICE_NODE = "device_node"
    SECRET = "secret"  # noqa: S105 - the name of a rule
    LAYER_SIZE = "layer_size"
    IMAGE_SIZE = "image_size"
    NO_HEALTHCHECK = "no_healthcheck"
    PRIVILEGED_PORT = "privileged_port"
    NO_ENTRYPOINT = "no_entrypoint"
    ENTRYPOINT_NOT_FOUND = "entrypoint_not_found"
    ENTRYPOINT_NOT_RUNNABLE = "entrypoint_not_runnable"
    SHELL_WITHOUT_INIT = "shell_without_init"
    LOG_FILE = "log_file"
    TIME_ZONE = "time_zone"
    PACKAGE_CACHE = "package_cache"
    MISSING_METADATA = "missing_metadata"
    OLD_BASE = "old_base"
    UNSTABLE_BASE = "unstable_base"
    OUTSIDE_APP_FOLDERS = "outside_app_folders"
    DEBUG_TOOL = "debug_tool"


class Level(StrEnum):
    """What becomes of an image that breaks a rule."""

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"


def _yaml_off(value: Any) -> Any:
    """YAML reads a bare ``off`` as false."""
    return Level.OFF if value is False else value


RuleLevel = Annotated[Level, BeforeValidator(_yaml_off)]


class RuleLevels(Spec):
    """One level per rule; these are the defaults of the platform."""

    root_user: RuleLevel = Level.WARN
    setuid: RuleLevel = Level.REFUSE
    world_writable: RuleLevel = Level.WARN
    device_node: RuleLevel = Level.REFUSE
    secret: RuleLevel = Level.REFUSE
    layer_size: RuleLevel = Level.WARN
    image_size: RuleLevel = Level.WARN
    no_healthcheck: RuleLevel = Level.WARN
    privileged_port: RuleLevel = Level.WARN
    no_entrypoint: RuleLevel = Level.WARN
    entrypoint_not_found: RuleLevel = Level.REFUSE
    entrypoint_not_runnable: RuleLevel = Level.REFUSE
    shell_without_init: RuleLevel = Level.WARN
    log_file: RuleLevel = Level.WARN
    time_zone: RuleLevel = Level.WARN
    package_cache: RuleLevel = Level.WARN
    missing_metadata: RuleLevel = Level.WARN
    old_base: RuleLevel = Level.WARN
    unstable_base: RuleLevel = Level.WARN
    outside_app_folders: RuleLevel = Level.WARN
    debug_tool: RuleLevel = Level.WARN


class BakeryPolicy(Spec):
    """An organisation's rules for its images; what is not said is as the platform has it."""

    rules: RuleLevels = RuleLevels()
    max_layer_size: Annotated[Bytes, Field(ge=MIB, examples=["512MiB"])] = ByteSize(512 * MIB)
    """Compressed bytes of the bake's own layer."""
    max_image_size: Annotated[Bytes, Field(ge=MIB, examples=["1GiB"])] = ByteSize(1024 * MIB)
    """Compressed bytes of all layers."""
    max_base_age_days: Annotated[int, Field(ge=1, le=3650)] = 90
    setuid_allowed: list[ImagePath] = []
    """Further setuid and setgid files; those of the distribution's own packages are known."""
    required: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]] = [
        "owner",
        "commit",
    ]
    """What every bake must tell: ``owner``, ``commit``, ``build`` (its link), or labels."""
    debug_packages: list[Annotated[str, Field(pattern=r"^[a-z0-9*?][a-z0-9*?+.-]{0,127}$")]] = [
        *("binutils", "build-essential", "clang", "clang-??", "cmake", "cpp", "g++", "g++-??"),
        *("gcc", "gcc-??", "gdb", "lldb", "ltrace", "make", "nmap", "perf", "strace"),
        *("tcpdump", "valgrind"),
    ]
    """Packages that belong into no running image; ``*`` and ``?`` stand for any letters."""

    def level(self, rule: Rule) -> Level:
        level: Level = getattr(self.rules, rule.value)
        return level


class LintReport(Record):
    """What ``fleetwide bake lint`` found."""

    findings: list[LintFinding]
    refused: bool
    """Whether the policy would refuse the image."""


class RuleDocument(Record):
    """A rule and what the policy makes of it."""

    rule: Rule
    level: Level
    meaning: str
    hint: str
