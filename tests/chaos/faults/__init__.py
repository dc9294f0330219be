"""The faults, by name."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.chaos.faults import messages, others, servers, workers
from tests.chaos.faults.base import Fault
from tests.chaos.stage import Stage

# By name: the fault, and how often it is chosen.
FAULTS: dict[str, tuple[Callable[[Stage, random.Random], Fault], int]] = {
    "kill-worker": (workers.kill, 6),
    "kill-worker-after-answer": (workers.kill_after_answer, 6),
    "kill-worker-after-record": (workers.kill_after_record, 6),
    "kill-pool-child": (workers.kill_child, 8),
    "freeze-worker": (workers.freeze, 6),
    "stop-worker": (workers.stop, 4),
    "stop-worker-cold": (workers.stop_cold, 3),
    "roll-out": (workers.roll_out, 2),
    "skew-clock": (workers.skew_clock, 2),
    "cut-off-worker": (workers.cut_off, 6),
    "kill-redis": (servers.kill, 5),
    "stop-redis": (servers.stop, 4),
    "lose-redis": (servers.lose, 1),
    "roll-back-redis": (servers.roll_back, 2),
    "cut-connections": (servers.cut_connections, 14),
    "fill-redis": (servers.fill, 2),
    "demote-redis": (servers.demote, 1),
    "flush-broker": (messages.flush_broker, 12),
    "delete-messages": (messages.delete, 16),
    "double-messages": (messages.double, 16),
    "repeat-messages": (messages.repeat, 12),
    "sweep-and-die": (others.sweep_and_die, 8),
    "kill-producer": (others.kill_producer, 4),
    "poison-exit": (others.poison("leave"), 1),
    "poison-segfault": (others.poison("crash"), 1),
    "poison-memory": (others.poison("devour"), 1),
    "model-busy": (others.model("busy", 2.0), 3),
    "model-silent": (others.model("silent", 1.0), 3),
    "model-broken": (others.model("broken", 1.0), 3),
}


__all__ = ["FAULTS", "Fault"]
