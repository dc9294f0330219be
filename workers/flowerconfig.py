"""crewq's pages in a Flower that Celery starts: `celery -A workers.app flower --conf=workers/flowerconfig.py`.

`crewq flower` needs none of this, and refuses to be open to other machines without a password; here, the pages do.
"""

from crewq.pages.hook import install
from crewq.pages.program import COLUMNS
from crewq.producer import connect

tasks_columns = COLUMNS  # rows by crew and task; arguments and results hold nothing
install(connect(work=False))
