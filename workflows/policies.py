"""Task queues, time limits and retry policies that the workflows share."""

from datetime import timedelta

from temporalio.common import RetryPolicy

BUILDER = "builder"
STORAGE = "storage"

BOOKING_TIMEOUT = timedelta(seconds=60)
"""For light activities: SQL and registry metadata."""
PERSISTENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=20)
)
"""For work of the platform's own that must get done, however long the database is away."""
BUILD_HEARTBEAT = timedelta(seconds=15)
BUILDS = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=5)
"""For builds: a killed builder is worth another try, a broken mirror not for ever."""
CLOUD_HEARTBEAT = timedelta(seconds=60)
CLOUD = RetryPolicy(
    initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)
"""For EC2: throttling and short outages pass, a lasting refusal is told."""
COMPENSATION = RetryPolicy(
    initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=5)
)
"""For taking back what was made in the cloud: it costs money until it is gone."""
