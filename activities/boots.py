"""Boot a disk inside an activity."""

from dataclasses import replace

from activities.progress import heartbeat
from fleetwide.errors import BuildFailed
from fleetwide.models.os_releases import BootReport
from fleetwide.providers.qemu import boot_test
from fleetwide.providers.qemu_command import Accelerator, BootRequest


def boot_machine(request: BootRequest) -> BootReport:
    """Boot; a panic is believed when it also happens on one CPU.

    QEMU emulates several CPUs on several threads, and its timers have been seen to panic a good
    kernel on a busy builder.
    """
    try:
        return boot_test(request, heartbeat)
    except BuildFailed as error:
        if request.accelerator is not Accelerator.TCG or "panicked" not in error.message:
            raise
    return boot_test(replace(request, cpus=1), heartbeat)
