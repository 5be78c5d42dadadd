"""The one table of settings. Every process reads it from the environment (``FLEETWIDE_*``).

``fleetwide config show`` prints this table with each value and where it came from.
"""

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyAddress, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# Both stand in names of Temporal's own, where a colon or a leading "__" would mean something else.
BUILD_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"
DEPLOYMENT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
UNVERSIONED = "unversioned"
"""What stands for the workers without a build id wherever builds are named."""


def _is_a_build(build_id: str) -> str:
    if build_id == UNVERSIONED:
        raise ValueError("is what workers without a build id are called; leave the setting out")
    return build_id


class TraceExporter(StrEnum):
    """Where finished spans go."""

    NONE = "none"
    CONSOLE = "console"
    OTLP = "otlp"


class LogFormat(StrEnum):
    """How log lines look: for people or for machines."""

    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    """All settings, with defaults that fit the development platform."""

    model_config = SettingsConfigDict(env_prefix="FLEETWIDE_", extra="ignore", frozen=True)

    temporal_address: str = Field(
        default="127.0.0.1:7233", description="host:port of Temporal's frontend"
    )
    temporal_namespace: str = Field(default="default", description="Temporal namespace")
    temporal_ui_url: str = Field(
        default="http://127.0.0.1:8233", description="Temporal Web UI, for links"
    )

    build_id: Annotated[str, AfterValidator(_is_a_build)] | None = Field(
        default=None,
        pattern=BUILD_ID_PATTERN,
        description="which build this control worker is; it then gets runs only once that build is "
        "promoted; unset means that workers have no versions",
    )
    deployment: str = Field(
        default="fleetwide",
        pattern=DEPLOYMENT_PATTERN,
        description="the worker deployment that builds are versions of",
    )

    state_dir: Path = Field(
        default=Path(".fleetwide"), description="folder for local state and caches"
    )
    database_url: SecretStr = Field(
        default=SecretStr("sqlite:///.fleetwide/fleetwide.db"),
        description="SQLAlchemy database URL",
    )
    registry_url: str = Field(
        default="http://127.0.0.1:5050", description="the registry's front door, as clients see it"
    )
    registry_host: str = Field(
        default="127.0.0.1", description="address that the registry's gateway listens on"
    )
    registry_port: int = Field(default=5051, description="port that the gateway listens on")
    registry_backend_url: str = Field(
        default="http://127.0.0.1:5052", description="Docker Distribution's private base URL"
    )
    registry_uploads_url: str | None = Field(
        default=None,
        description="Distribution's base URL as clients reach it where there is no nginx; "
        "unset means the private one",
    )
    registry_data_plane: Literal["nginx", "redirect"] = Field(
        default="nginx",
        description="how blobs travel: through nginx before gateway and Distribution, or by "
        "redirects to Distribution",
    )
    registry_storage: str = Field(
        default="file:.fleetwide/registry",
        description="Distribution's storage: file:<folder> or s3://<bucket>/<prefix>",
    )
    registry_auth: Literal["token", "off"] = Field(
        default="token", description="who may use the registry: who has a token, or everybody"
    )
    registry_token_key: Path = Field(
        default=Path(".fleetwide/registry-token-key.pem"),
        description="ECDSA P-256 key that signs the registry's tokens; made when missing",
    )
    registry_accounts: Path | None = Field(
        default=None,
        description="file of the registry accounts that a platform has besides those in SQL",
    )
    registry_username: str = Field(
        default="", description="registry account of this process; empty means none"
    )
    registry_password: SecretStr = Field(default=SecretStr(""), description="that account's secret")
    registry_upkeep: bool = Field(
        default=True,
        description="whether the control worker makes the schedules of the registry's upkeep that "
        "there are not yet; those that there are stay as they are",
    )
    registry_logins: Path | None = Field(
        default=None,
        description="file of what `fleetwide registry login` keeps; unset means "
        "registry-logins.json in ~/.config/fleetwide",
    )
    registry_stale_seconds: int = Field(
        default=3600,
        ge=0,
        description="seconds that a host gets tokens by its last known rights while SQL is away",
    )
    registry_policy: Path | None = Field(
        default=None,
        description="file of the organisation's rules for the registry; unset means the built-in "
        "ones",
    )
    registry_regions: Path | None = Field(
        default=None,
        description="file of the registry's other regions and upstreams; unset means it stands "
        "alone",
    )
    registry_manifest_bytes: int = Field(
        default=4 * 1024**2,
        ge=64 * 1024,
        le=4 * 1024**2,
        description="bytes that a manifest may have; Distribution takes no more than 4 MiB",
    )
    registry_manifest_cache: int = Field(
        default=32 * 1024**2, ge=0, description="bytes of manifests that a gateway keeps in memory"
    )
    registry_lease_seconds: int = Field(
        default=3600,
        ge=60,
        description="seconds that an uploaded blob stays without a manifest that refers to it",
    )
    registry_review_hours: float = Field(
        default=24,
        ge=0,
        description="hours that what lost its last reference is left alone before it is removed; "
        "at least as long as a lease",
    )
    registry_upload_hours: float = Field(
        default=24, ge=0, description="hours after which an upload that nobody goes on with goes"
    )
    archive_after_hours: float = Field(
        default=168,
        gt=0,
        description="hours after which finished tasks and batch jobs leave for the archive, where "
        "they are still found",
    )
    event_keep_days: float = Field(
        default=90,
        ge=0,
        description="days that events are kept, and streams can be gone on with; 0 means for ever",
    )
    archive_keep_days: float = Field(
        default=365,
        ge=0,
        description="days that finished tasks and batch jobs stay in the archive; 0 means for ever",
    )
    preemption_notice: float = Field(
        default=120,
        ge=0,
        le=86_400,
        description="seconds that a task whose place was lent is told before it has to leave; its "
        "own stop grace follows",
    )
    defragmentation: bool = Field(
        default=False,
        description="whether hosts are emptied so that whole ones become free, within the "
        "disruption budgets",
    )
    defragmentation_seconds: float = Field(
        default=300, ge=1, le=86_400, description="seconds from one round of it to the next"
    )
    defragmentation_parallel: int = Field(
        default=2, ge=1, le=1000, description="so many tasks it moves at a time"
    )
    defragmentation_deadline: float = Field(
        default=900,
        ge=1,
        le=86_400,
        description="seconds after which a host that its tasks' budgets keep full takes work again",
    )
    object_store_url: str = Field(
        default="file:.fleetwide/objects", description="file:<folder> or s3://<bucket>/<prefix>"
    )
    image_high_mark: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="part of the file system of this host's Docker above which images that nobody "
        "uses go",
    )
    image_low_mark: float = Field(
        default=0.75, gt=0, le=1, description="they go until it is no fuller than this"
    )
    image_grace_minutes: float = Field(
        default=10,
        ge=0,
        description="minutes that an image stays after it was used or fetched, whatever the disk",
    )
    errand_hours: float = Field(
        default=24,
        gt=0,
        description="hours that the outputs and files of errands (exec, fetch, stats) are kept",
    )
    aws_endpoint_url: str | None = Field(
        default=None, description="AWS endpoint; unset means real AWS"
    )
    aws_region: str = Field(default="us-east-1", description="AWS region")

    api_url: str = Field(default="http://127.0.0.1:8300", description="where the CLI finds the API")
    api_host: str = Field(default="127.0.0.1", description="address that the API listens on")
    api_port: int = Field(default=8300, description="port that the API listens on")

    host_id: str = Field(
        default="local", description="this container host's id; its queue is host.<id>"
    )
    host_cpu: float | None = Field(
        default=None, description="CPUs offered; unset means all but the reserve"
    )
    host_memory: int | None = Field(
        default=None, description="bytes of memory offered; unset means all but the reserve"
    )
    host_disk: int | None = Field(
        default=None,
        ge=0,
        description="bytes of disk offered; unset means what is free, less the reserve",
    )
    host_network: int | None = Field(
        default=None,
        ge=0,
        description="Mbit/s offered; unset means what the link has, less the reserve; a link that "
        "does not say its speed is not counted",
    )
    host_gpus: str = Field(
        default="auto",
        description="GPU devices offered: auto, none, or ids (GPU-..., /dev/...), with commas",
    )
    host_reserve_cpu: float = Field(default=0.0, ge=0, description="CPUs kept back for the system")
    host_reserve_memory: int | None = Field(
        default=None,
        ge=0,
        description="bytes of memory kept back for the system; unset means a tenth, at least "
        "512 MiB",
    )
    host_reserve_disk: int | None = Field(
        default=None,
        ge=0,
        description="bytes of disk kept back for images and the system; unset means a twentieth, "
        "from 1 GB to 20 GB",
    )
    host_reserve_network: int = Field(
        default=0, ge=0, description="Mbit/s of the link kept back for the system"
    )
    host_ports: str = Field(
        default="20000-32000", description="ports that the platform chooses for containers: from-to"
    )
    host_zone: str = Field(
        default="", description="this host's zone; empty means EC2's own, where it is an instance"
    )
    host_address: IPvAnyAddress | None = Field(
        default=None,
        description="IP address that others reach this host's containers by; unset means the one "
        "by which this host reaches Temporal",
    )
    host_labels: str = Field(
        default="", description="further labels of this host: name=value, with commas"
    )
    host_metadata_url: str | None = Field(
        default=None,
        description="EC2's instance metadata; unset means the usual one, on an EC2 machine only",
    )
    disk_watch_seconds: float = Field(
        default=10.0,
        gt=0,
        description="so often the host looks how much containers wrote, where there are no quotas",
    )
    host_report_seconds: float = Field(
        default=1.0,
        ge=0.1,
        le=60,
        description="seconds between two reports of this host; it is taken for silent after ten "
        "times as long",
    )
    docker_url: str = Field(
        default="unix:///var/run/docker.sock", description="this host's Docker daemon"
    )
    host_lost_after: float = Field(
        default=600,
        ge=10,
        description="seconds after which a host that does not answer is given up as lost",
    )
    lost_valve_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="nothing is given up as lost while more than this share of the hosts, and at "
        "least two, fell silent together",
    )
    lost_valve_hosts: int = Field(
        default=5, ge=2, description="so many hosts that fell silent together are enough for that"
    )
    lost_valve_seconds: float = Field(
        default=60, gt=0, description="hosts fell silent together within so many seconds"
    )
    disruption_quota: float = Field(
        default=500,
        ge=0,
        description="so many running tasks of all jobs may be moved at once for the platform's own "
        "reasons, when none were moved before; 0 stops all that is not forced",
    )
    disruption_quota_per_second: float = Field(
        default=50, ge=0, description="so many more each second"
    )
    targets_nginx_file: Path | None = Field(
        default=None,
        description="file of upstreams that the scheduler writes for the nginx beside it, which "
        "includes it in http; unset means there is none",
    )
    targets_nginx_test: str = Field(
        default="nginx -t", description="command that says whether nginx can use that file"
    )
    targets_nginx_reload: str = Field(
        default="nginx -s reload", description="command that has nginx read that file again"
    )
    targets_nginx_pid: Path = Field(
        default=Path("/run/nginx.pid"),
        description="file of that nginx's process id: by its processes it is seen that it has "
        "loaded; without such a file nobody looks",
    )
    seccomp_dir: Path | None = Field(
        default=None,
        description="folder of this host's seccomp profiles, <name>.json; unset means none but "
        "Docker's own",
    )

    host_paths: str = Field(
        default="",
        description="folders of this host that tasks may mount, with commas between them; one that "
        "may be written ends in :rw",
    )
    secrets_provider: Literal["folder", "aws"] = Field(
        default="folder",
        description="where this host finds the secrets of tasks: in a folder, or in AWS Secrets "
        "Manager by the role of its instance",
    )
    secrets_dir: Path = Field(
        default=Path(".fleetwide/secrets"),
        description="that folder; a secret of an application is the file <application>/<name>",
    )
    secrets_prefix: str = Field(
        default="fleetwide/",
        description="what the names in AWS begin with; <application>/<name> follows",
    )

    peer_address: str | None = Field(
        default=None,
        description="host:port that this host serves blobs on to other hosts; unset means it "
        "serves none",
    )
    peer_url: str | None = Field(
        default=None, description="that address as other hosts reach it; unset means the same"
    )
    peer_cache: int = Field(
        default=20 * 1024**3, ge=0, description="bytes of blobs that a host keeps to share"
    )

    apt_mirror: str | None = Field(
        default=None,
        description="mirror for specs that name none; unset means the distribution's own",
    )
    apt_security_mirror: str | None = Field(
        default=None,
        description="mirror of the security suites; unset means the distribution's own",
    )
    builder_dir: Path = Field(
        default=Path(".fleetwide/builder"), description="scratch and caches of a builder"
    )
    builder_cache: int = Field(
        default=20 * 1024**3,
        description="bytes of packages, tools and disks that a builder keeps for the next build",
    )
    script_seconds: float = Field(
        default=600.0,
        gt=0,
        description="seconds that the install scripts of a bake, the build of an sdist, or a "
        "script of an OS spec may take",
    )
    script_memory: int = Field(
        default=2 * 1024**3, gt=0, description="bytes of memory that one of these may take"
    )
    script_processes: int = Field(
        default=1024, gt=0, description="processes that one of these may have at a time"
    )
    script_disk: int = Field(
        default=10 * 1024**3, gt=0, description="bytes of disk that one of these may take"
    )
    vm_bake: Literal["disk", "volume"] = Field(
        default="disk",
        description="how VMs are baked: on a disk file, or on an EBS volume of this EC2 instance",
    )
    replaced_ami_days: int = Field(
        default=7,
        ge=0,
        description="days that an AMI stays, hidden, after a forced bake has replaced it",
    )
    bakery_policy: Path | None = Field(
        default=None,
        description="file of the organisation's rules for images; unset means the built-in ones",
    )
    rosco_bases: Path | None = Field(
        default=None,
        description="file of what Spinnaker's base_os stand for; unset means OS lines by name",
    )
    qemu_accelerator: Literal["tcg", "kvm"] = Field(
        default="tcg", description="how boot tests run: tcg works everywhere, kvm is faster"
    )
    signing_key: Path = Field(
        default=Path(".fleetwide/signing-key.pem"),
        description="Ed25519 key that signs provenance; made when missing",
    )
    security_tracker: Path | None = Field(
        default=None, description="JSON file of Debian's security tracker, where there is one"
    )

    trace_exporter: TraceExporter = Field(
        default=TraceExporter.NONE, description="none, console or otlp"
    )
    otlp_endpoint: str = Field(
        default="http://127.0.0.1:4318", description="OTLP/HTTP endpoint for traces"
    )
    metrics_address: str | None = Field(
        default=None, description="host:port for this process's Prometheus metrics; unset means off"
    )
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="console or json")
    log_level: str = Field(default="INFO", description="least level that is logged")


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
