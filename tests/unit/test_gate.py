"""Who may work beside whom: many together, or one alone."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from crewq.gate import Gate
from tests.waiting import until


def test_many_work_beside_each_other() -> None:
    gate = Gate()
    with gate.beside_others(), gate.beside_others():
        pass


def test_one_alone_waits_for_the_others_and_keeps_new_ones_out() -> None:
    gate, order = Gate(), list[str]()
    leave = threading.Event()

    def first() -> None:
        with gate.beside_others():
            order.append("first")
            leave.wait(10)

    def alone() -> None:
        with gate.alone(patience=10) as mine:
            order.append(f"alone {mine}")

    def late() -> None:
        with gate.beside_others():
            order.append("late")

    threads = [threading.Thread(target=work) for work in (first, alone, late)]
    threads[0].start()
    until(lambda: order == ["first"], 5)
    threads[1].start()
    until(lambda: gate._wanted_alone == 1, 5)
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "alone True", "late"]


def test_one_who_waits_in_vain_is_told_so_and_leaves_the_gate_as_it_was() -> None:
    gate = Gate()
    with ExitStack() as others:
        others.enter_context(gate.beside_others())
        with gate.alone(patience=0.01) as mine:
            assert not mine
        others.enter_context(gate.beside_others())
    with gate.alone(patience=1) as mine:
        assert mine
