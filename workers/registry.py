"""Which workflows and activities there are; the roles and the tests take them from here."""

from collections.abc import Callable, Sequence
from typing import Any

from activities.bakery import BakeActivities, ImageActivities
from activities.baseos import OSBuildActivities, ReleaseActivities
from activities.containers import ContainerActivities
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.objects import open_object_store
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from workflows.bakery import Bake
from workflows.baseos import OSImageBuild
from workflows.batch import BatchJob
from workflows.containers import ContainerTask
from workflows.hosts import Host
from workflows.unknown import UnknownWorkflow

WORKFLOWS: Sequence[type] = (BatchJob, Bake, ContainerTask, Host, OSImageBuild, UnknownWorkflow)


def control_activities(store: Store, registry: RegistryClient) -> list[Callable[..., Any]]:
    """Light activities: SQL and registry metadata."""
    containers = ContainerActivities(store, registry)
    releases = ReleaseActivities(store)
    images = ImageActivities(store)
    return [
        containers.place,
        containers.record_attempts,
        containers.finish,
        containers.register_host,
        containers.disconnect_host,
        containers.remove_host,
        releases.reserve_release,
        releases.save_release,
        releases.promote_release,
        releases.withdraw_release,
        images.resolve_bake,
        images.record_image,
    ]


def builder_activities(settings: Settings) -> list[Callable[..., Any]]:
    """Heavy activities: root file systems, layers, pushes."""
    registry = RegistryClient(settings.registry_url)
    builds = OSBuildActivities(settings, registry)
    bakes = BakeActivities(settings, registry, open_object_store(settings))
    return [
        builds.build_rootfs,
        builds.publish_image,
        bakes.build_image,
    ]
