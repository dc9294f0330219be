"""What a worker's `CREWQ_LITELLM_CALLBACKS` names in tests: it imports litellm, which no other module of crews has to."""

from __future__ import annotations

import json
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from tests.integration.crews import note


class Watcher(CustomLogger):
    """Writes down what it is told."""

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call was answered."""
        self._tell("answered", kwargs)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """A call failed."""
        self._tell("failed", kwargs)

    def _tell(self, outcome: str, kwargs: dict[str, Any]) -> None:
        metadata = kwargs["litellm_params"]["metadata"]
        note(json.dumps({"outcome": outcome} | {name: metadata[name] for name in metadata if isinstance(name, str)}))


watcher = Watcher()
not_one = "a text"
