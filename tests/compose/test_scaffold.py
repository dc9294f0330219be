"""The compose file that `crewq new` makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.compose.fleet import Fleet, docker


def test_a_new_project_has_a_fleet_of_its_own(image: str, tmp_path: Path) -> None:
    crewq = [sys.executable, "-m", "crewq"]
    subprocess.run([*crewq, "new", "my-crew"], cwd=tmp_path, check=True)
    with Fleet(tmp_path / "my-crew" / "compose.yaml", folder=tmp_path / "my-crew") as fleet:
        fleet.up("--build", "--scale=worker=2")
        run = [*crewq, "run", "my_crew.crew:MyCrew", "--input", "topic=bees"]
        assert fleet.run(*run, CREWQ_REDIS_URL=fleet.redis_url).startswith("Go and look.")
        assert "2 answer: " in fleet.run(*crewq, "doctor", CREWQ_REDIS_URL=fleet.redis_url)
        workers = fleet.containers("worker")
        fleet.compose("stop")
        assert {docker("inspect", "-f", "{{.State.ExitCode}}", one) for one in workers} == {"0"}
        fleet.up("--scale=worker=1")
        assert "completed" in fleet.run(*crewq, "runs", CREWQ_REDIS_URL=fleet.redis_url)
