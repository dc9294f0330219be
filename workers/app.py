"""The Celery app of a worker container: `celery -A workers.app worker`."""

import os

from crewq.settings import Settings
from crewq.worker import Worker

app = Worker(Settings.from_env(os.environ)).follow_celery(grace=30.0).app
