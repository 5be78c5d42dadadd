from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.disks import Usage, disk_layout, fits, needed_size
from fleetwide.models.baseos import MIB, BootMode

SIZES = st.integers(512 * MIB, 64 * 1024 * MIB)
USAGES = st.builds(Usage, blocks=st.integers(0, 2_000_000), inodes=st.integers(0, 1_000_000))
MODES = st.sampled_from(BootMode)


@given(SIZES, MODES)
def test_partitions_are_aligned_and_lie_on_the_disk(size: int, boot: BootMode) -> None:
    layout = disk_layout(size, boot)
    parts = [part for part in (layout.esp, layout.root) if part is not None]
    end = MIB
    for part in parts:
        assert part.start == end
        assert part.start % MIB == part.size % MIB == 0
        end = part.start + part.size
    assert end <= layout.size
    assert size <= layout.size < size + MIB


@given(USAGES, MODES, SIZES)
def test_the_needed_size_is_enough_and_the_step_below_is_not(
    usage: Usage, boot: BootMode, above: int
) -> None:
    needed = needed_size(usage, boot, above=above)
    assert needed > above
    assert fits(disk_layout(needed, boot).root.size, usage)
    below = needed - 256 * MIB
    assert below <= above or not fits(disk_layout(below, boot).root.size, usage)
