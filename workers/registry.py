"""Which workflows and activities there are; the roles and the tests take them from here.

Those of replication stand in their worker, which needs nothing of what the others import.
"""

from collections.abc import Callable, Sequence
from typing import Any

from activities.bake_amis import BakedAmiActivities, BakedDiskUploads
from activities.bake_disks import BakeDiskActivities
from activities.bakery import ImageActivities
from activities.bakes import BakeActivities
from activities.baseos import ReleaseActivities
from activities.baseos_amis import AmiActivities
from activities.baseos_builds import OSBuildActivities
from activities.baseos_reports import BuilderQuestions, ReleaseQuestions
from activities.batch import BatchActivities
from activities.capacity_requests import CapacityRequestActivities
from activities.containers import ContainerActivities
from activities.errands import ErrandActivities
from activities.fleet import FleetActivities
from activities.gone_hosts import GoneHostActivities
from activities.pools import PoolActivities
from activities.registry import GarbageActivities
from activities.registry_preheat import PreheatPlanActivities
from activities.registry_reconcile import ReconcileActivities
from activities.registry_repositories import RepositoryActivities, RepositoryLinks
from activities.registry_retention import RegistryRetentionActivities
from activities.registry_scrub import ScrubActivities
from activities.services import ServiceActivities
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import open_object_store
from fleetwide.providers.region_blobs import RegionBlobs
from fleetwide.providers.registry_regions import Regions
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from workflows.bake_amis import BakeDistribution
from workflows.bake_sweep import BakerySweep
from workflows.bakery import Bake
from workflows.baseos import OSImageBuild
from workflows.baseos_reports import OSFixesAvailable, OSImagePlan, OSRetention
from workflows.baseos_reproduction import OSReproduction
from workflows.batch import BatchJob
from workflows.capacity_requests import CapacityRequest
from workflows.containers import ContainerTask
from workflows.errands import TaskErrand
from workflows.hosts import Host
from workflows.pools import HostPool
from workflows.registry_gc import RegistryGarbageCollection
from workflows.registry_preheat import ImagePreheat
from workflows.registry_reconcile import RegistryReconcile, RegistryScrub
from workflows.registry_replication import ImageReplication, RegistryReplicationSweep
from workflows.registry_repositories import RepositoryDeletion
from workflows.registry_retention import RegistryRetention
from workflows.services import ContainerService
from workflows.unknown import UnknownWorkflow

WORKFLOWS: Sequence[type] = (
    BatchJob,
    Bake,
    BakeDistribution,
    BakerySweep,
    CapacityRequest,
    ContainerService,
    ContainerTask,
    Host,
    HostPool,
    ImagePreheat,
    ImageReplication,
    OSFixesAvailable,
    OSImageBuild,
    OSImagePlan,
    OSReproduction,
    OSRetention,
    RegistryGarbageCollection,
    RegistryReconcile,
    RegistryReplicationSweep,
    RegistryRetention,
    RegistryScrub,
    RepositoryDeletion,
    TaskErrand,
    UnknownWorkflow,
)


def control_activities(
    settings: Settings, store: Store, registry: RegistryClient
) -> list[Callable[..., Any]]:
    """Light activities: SQL, registry metadata, EC2."""
    amis = AmiActivities(settings, store)
    releases, questions = ReleaseActivities(store), ReleaseQuestions(store)
    images, baked_amis = ImageActivities(store), BakedAmiActivities(settings)
    repositories = RepositoryActivities(store)
    retention = RegistryRetentionActivities(store, settings.registry_policy)
    preheats = PreheatPlanActivities(store, registry)
    return [
        *_fleet_activities(settings, store, registry),
        preheats.plan_preheat,
        preheats.take_rights,
        releases.reserve_release,
        releases.find_unchanged,
        releases.find_release,
        releases.save_release,
        releases.let_go,
        releases.move_channel,
        releases.withdraw_release,
        questions.latest_release,
        questions.get_release,
        questions.find_locked,
        questions.find_same,
        questions.record_reproduction,
        questions.review_releases,
        amis.register_ami,
        amis.copy_ami,
        amis.share_ami,
        amis.find_invisible,
        amis.count_instances,
        amis.drop_amis,
        amis.sweep_cloud,
        images.resolve_bake,
        images.pin_dependencies,
        images.book_bake,
        images.record_image,
        images.find_distributed,
        images.record_region,
        images.widen_image,
        images.review_bakes,
        baked_amis.register_ami,
        baked_amis.copy_ami,
        baked_amis.drop_copy,
        baked_amis.share_ami,
        baked_amis.find_ami,
        baked_amis.retag_amis,
        baked_amis.retire_replaced,
        baked_amis.drop_amis,
        baked_amis.sweep_cloud,
        repositories.mark_repository,
        repositories.end_repository_tags,
        repositories.delete_repository_manifests,
        repositories.drop_repository_blobs,
        repositories.finish_deletion,
        repositories.stop_deletion,
        retention.plan_retention,
        retention.judge_repositories,
        retention.keep_retention,
    ]


def _fleet_activities(
    settings: Settings, store: Store, registry: RegistryClient
) -> list[Callable[..., Any]]:
    """Container tasks, their hosts, and what is done in running ones."""
    containers, fleet = ContainerActivities(store, registry), FleetActivities(store, settings)
    host_pools, kept_up = PoolActivities(settings, store), ServiceActivities(store)
    batch = BatchActivities(store, registry)
    errands = ErrandActivities(store, open_object_store(settings))
    requests = CapacityRequestActivities(store)
    return [
        containers.place,
        containers.record_attempts,
        containers.record_kills,
        containers.finish,
        batch.note,
        batch.withdraw,
        batch.dependencies,
        containers.register_host,
        containers.disconnect_host,
        containers.remove_host,
        fleet.change_standing,
        fleet.remove_host,
        fleet.drain_step,
        fleet.judge_host,
        fleet.judge_attempt,
        GoneHostActivities(store).remove_gone_host,
        errands.place_errand,
        requests.note_request,
        requests.change_capacity,
        kept_up.ensure,
        kept_up.change,
        kept_up.kill_copy,
        kept_up.turn,
        host_pools.next_steps,
        host_pools.launch,
        host_pools.drain,
        host_pools.terminate,
        host_pools.forget,
    ]


def builder_activities(settings: Settings) -> list[Callable[..., Any]]:
    """Heavy activities: root file systems, layers, disks, boots, pushes."""
    registry, objects = RegistryClient.from_settings(settings), open_object_store(settings)
    builds = OSBuildActivities(settings, registry, objects)
    asked = BuilderQuestions(builds)
    bakes = BakeActivities(settings, registry, objects)
    disks = BakeDiskActivities(settings, registry, objects)
    uploads = BakedDiskUploads(settings, objects)
    return [
        builds.resolve_lock,
        builds.fetch_packages,
        builds.build_container,
        builds.build_vm,
        builds.rebuild_face,
        builds.test_boot,
        builds.publish_image,
        builds.attach_documents,
        builds.upload_snapshot,
        builds.drop_upload,
        builds.forget_disk,
        asked.preview_build,
        asked.find_fixes,
        bakes.resolve_dependencies,
        bakes.build_layer,
        bakes.smoke_test,
        bakes.publish,
        bakes.withdraw,
        bakes.sweep_layers,
        disks.build_disk,
        disks.boot_disk,
        uploads.upload_snapshot,
        uploads.drop_upload,
    ]


def storage_activities(
    settings: Settings, store: Store, storage: RegistryStorage
) -> list[Callable[..., Any]]:
    """The registry's upkeep: SQL and Distribution's storage."""
    garbage = GarbageActivities(settings, store, storage)
    elsewhere = RegionBlobs(store, Regions(settings.registry_regions))
    reconciliation = ReconcileActivities(settings, store, storage, elsewhere)
    scrub = ScrubActivities(store, storage, elsewhere)
    return [
        garbage.plan_garbage,
        garbage.collect_garbage,
        garbage.collect_leftovers,
        garbage.record_upkeep,
        reconciliation.list_names,
        reconciliation.reconcile_repository,
        reconciliation.reconcile_blobs,
        scrub.scrub_blobs,
        RepositoryLinks(storage).unlink_repository,
    ]
