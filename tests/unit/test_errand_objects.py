"""What errands leave in the object store goes when its time is over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetwide.models.errands import ErrandInput
from fleetwide.providers import errand_objects
from fleetwide.providers.objects import FolderStore

DAY = timedelta(hours=24)


def test_an_input_that_no_host_took_goes_long_before_the_rest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    errand, now = errand_objects.new_errand_id(), datetime.now(UTC)
    errand_objects.save_input(store, errand, ErrandInput(stdin=b"a secret"))
    store.put_bytes(errand_objects.content_key(errand), b"content")
    assert errand_objects.sweep(store, now + timedelta(minutes=14), DAY) == 0
    assert errand_objects.sweep(store, now + timedelta(minutes=16), DAY) == 1
    assert errand_objects.take_input(store, errand) == ErrandInput()
    assert store.exists(errand_objects.content_key(errand))
    assert errand_objects.sweep(store, now + 2 * DAY, DAY) == 1


@pytest.mark.parametrize(("minutes", "late"), [(0, False), (9, False), (11, True)])
def test_a_command_is_not_begun_when_its_input_may_be_gone(minutes: int, late: bool) -> None:
    then = datetime.now(UTC) + timedelta(minutes=minutes)
    assert errand_objects.is_late(errand_objects.new_errand_id(), then) is late
