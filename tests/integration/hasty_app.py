"""A worker that gives running tasks a second to end after a SIGTERM: `celery -A tests.integration.hasty_app worker`."""

import os

from crewq.settings import Settings
from crewq.worker import Worker

app = Worker(Settings.from_env(os.environ)).follow_celery(grace=1.0).app
