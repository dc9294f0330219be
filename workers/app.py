"""The Celery app of a worker container: `celery -A workers.app worker`."""

import os

from crewq.secret_files import from_files
from crewq.settings import Settings
from crewq.worker import Worker

os.environ.update(from_files(os.environ))  # for litellm too, which looks for its keys there
app = Worker(Settings.from_env(os.environ)).follow_celery(grace=30.0).app
