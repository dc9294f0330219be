"""Budgets over real workers: what is paid, what pauses, and what is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from crewq import LLM, Agent, Crew, Run, Task, errors
from crewq.server import Server
from crewq.settings import Settings
from crewq.store import Store
from tests.integration.crews import add, agent
from tests.integration.test_cli import Shell
from tests.integration.test_delegation import SUM, by_role, delegate, roles
from tests.integration.test_guardrails import verdict
from tests.integration.worker_process import WorkerProcess
from tests.model_server import Behaviour, ModelServer, Request, hang, text
from tests.waiting import until

Make = Callable[..., WorkerProcess]

# Questions cost nothing, each word of an answer a cent; and no answer has more than ten. So a call is thought to cost $0.10.
CHEAP = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.01, "max_tokens": 10}
FIVE = "One two three four five."  # $0.05


@pytest.fixture(scope="module")
def own_worker(fleet_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    settings = {
        "CREWQ_NAMESPACE": "budgets",
        "CREWQ_QUEUE": "budgets",
        "CREWQ_BUDGETS": "acme max_cost=0.12; other* max_cost=1000",
    }
    folder = tmp_path_factory.mktemp("budgets")
    with WorkerProcess(folder, fleet_server.url, "-c", "20", **settings) as worker:
        yield worker.ready()


@pytest.fixture
def worker(
    own_worker: WorkerProcess,
    fleet_server: Server,
    producer_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> WorkerProcess:
    monkeypatch.setenv("CREWQ_NAMESPACE", "budgets")
    monkeypatch.setenv("CREWQ_QUEUE", "budgets")
    producer_of(fleet_server.url)
    return own_worker


def llm(server: ModelServer, **fields: Any) -> LLM:
    return LLM(model="openai/any", base_url=server.url, **(CHEAP | fields))


def one_task(server: ModelServer, description: str = f"[[say {FIVE}]]", name: str = "crew", **fields: Any) -> Crew:
    return Crew(name=name, tasks=[Task(name="only", description=description, agent=agent(llm(server), **fields))])


def paused(run: Run, seconds: float = 20) -> str:
    """Why it is paused, once it is."""
    until(lambda: run.status == "paused", seconds)
    return next(task.paused_for or "" for task in run.tasks if task.paused_for)


def test_a_run_pauses_before_the_call_that_would_go_beyond_and_goes_on_with_more(
    worker: WorkerProcess, model_server: ModelServer
) -> None:
    asked = f'[[call add {{"left": 1, "right": 2}}]] [[say {FIVE}]]'
    run = one_task(model_server, asked, tools=[add]).kickoff_async(max_cost=0.12)
    assert paused(run) == (
        "The budget of the run is used up: $0.05 of $0.12, and the next call (openai/any) may take $0.1. "
        f"Raise it, and the run goes on where it stopped: `crewq resume {run.id} --budget DOLLARS`."
    )
    assert len(model_server.ledger) == 1
    with pytest.raises(errors.StillPaused, match="is used up"):
        run.result(0.1)
    with pytest.raises(errors.BudgetTooSmall, match=r"has spent \$0\.05 already"):
        run.resume(max_cost=0.05)
    assert run.resume(max_cost=0.15).result(20).raw == FIVE
    assert len(model_server.ledger) == 2, "what was answered is not asked again"
    assert run.record().usage.cost == pytest.approx(0.1)
    assert run.tasks[0].repeated == 0


def test_a_budget_of_tokens_needs_no_price(worker: WorkerProcess, model_server: ModelServer) -> None:
    unpriced = {"input_cost_per_token": None, "output_cost_per_token": None}
    crew = Crew(tasks=[Task(description="[[say Yes.]]", agent=agent(llm(model_server, **unpriced)))])
    assert crew.kickoff(max_tokens=5000).raw == "Yes."
    run = crew.kickoff_async(max_tokens=50)
    assert "tokens of 50 tokens" in paused(run)
    assert "--max-tokens TOKENS" in paused(run)
    assert run.resume(max_tokens=5000).result(20).raw == "Yes."
    assert len(model_server.ledger) == 2


def test_a_price_that_nobody_knows_is_refused_under_a_budget_of_dollars(
    worker: WorkerProcess, model_server: ModelServer
) -> None:
    unpriced = {"input_cost_per_token": None, "output_cost_per_token": None}
    who = agent(llm(model_server, **unpriced))
    with pytest.raises(errors.RunFailed, match="The price of the model openai/any is not known") as failed:
        Crew(tasks=[Task(description="Ask.", agent=who)]).kickoff(max_cost=5.0)
    assert isinstance(failed.value.__cause__, errors.PriceUnknown)
    assert "max_tokens" in str(failed.value)
    assert len(model_server.ledger) == 0
    with_other = LLM(model="openai/any", base_url=model_server.url, fallbacks=[llm(model_server)])
    who = agent(with_other)
    assert Crew(tasks=[Task(description="[[say Yes.]]", agent=who)]).kickoff(max_cost=5.0).raw == "Yes."


def test_twenty_slots_spend_no_more_than_there_is(worker: WorkerProcess) -> None:
    """Each call costs $0.05 and is thought to cost $0.10, so nineteen fit in a dollar, whoever comes first."""
    with ModelServer(latency=0.2) as server:
        crew = one_task(server, f"Item {{x}}. [[say {FIVE}]]")
        batch = crew.kickoff_for_each_async([{"x": at} for at in range(40)], max_cost=1.0)
        runs = batch.runs
        until(lambda: {run.status for run in runs} == {"completed", "paused"}, 60)
        assert len(server.ledger) == batch.progress().completed == 19
        record = batch.progress()
        assert record.usage.cost == pytest.approx(0.95)
        assert "The budget of the batch is used up: $0.95 of $1, and" in (record.paused_for or "")
        assert f"crewq resume {batch.id} --budget DOLLARS" in (record.paused_for or "")
        with pytest.raises(errors.BudgetTooSmall):
            batch.resume(max_cost=0.5)
        assert batch.resume(max_cost=10) == 21
        assert [output.raw for output in batch.results(60)] == [FIVE] * 40
        assert len({call.prompt for call in server.ledger}) == len(server.ledger) == 40
        assert batch.progress().paused_for is None


def test_items_that_have_not_begun_wait_until_there_is_more(worker: WorkerProcess, model_server: ModelServer) -> None:
    crew = one_task(model_server, f"Item {{x}}. [[say {FIVE}]]")
    batch = crew.kickoff_for_each_async([{"x": at} for at in range(10)], max_in_flight=2, max_cost=0.12)
    until(lambda: batch.progress().paused_for, 20)
    until(lambda: [run.status for run in batch.runs].count("paused") == 2, 20)
    states = [run.status for run in batch.runs]
    assert (states.count("completed"), states.count("queued")) == (1, 7)
    batch.resume(max_cost=10)
    assert len(batch.results(30)) == 10


def test_what_a_killed_worker_had_reserved_comes_back(
    own_redis: Server, start_worker: Make, model_server: ModelServer
) -> None:
    doomed = start_worker(own_redis.url, "-c", "2").ready()
    model_server.enqueue(hang())
    run = one_task(model_server).kickoff_async(max_cost=0.15)
    model_server.ledger.wait_for(lambda made: len(made) == 1)
    doomed.kill()
    start_worker(own_redis.url, "-c", "2").ready()
    assert run.result(30).raw == FIVE, "twice what one call may cost would not fit"
    assert len(model_server.ledger) == 2
    assert run.tasks[0].repeated == 1


def test_work_of_coworkers_counts_and_is_kept(worker: WorkerProcess) -> None:
    with ModelServer(by_role(SUM)) as server:
        run = pair(server).kickoff_async(max_cost=0.19)
        paused(run)
        assert roles(server) == ["Lead", "Clerk"]
        assert run.resume(max_cost=1).result(20).raw == "The clerk says 5."
        assert roles(server) == ["Lead", "Clerk", "Clerk", "Lead"]


def pair(server: ModelServer) -> Crew:
    def member(role: str, **fields: Any) -> Agent:
        return Agent(role=role, goal="work", backstory="Old.", llm=llm(server), **fields)

    lead = member("Lead", allow_delegation=True)
    clerk = member("Clerk", tools=[add])
    return Crew(agents=[lead, clerk], tasks=[Task(name="sum", description="What is 2 + 3?", agent=lead)])


def test_calls_under_way_end_and_are_kept_before_the_run_pauses(worker: WorkerProcess) -> None:
    """Two pieces of work side by side, and room for one call at a time."""

    def respond(request: Request) -> Behaviour:
        messages = request["messages"]
        spoken = any(message["role"] == "assistant" for message in messages)
        if "You are Lead." in messages[0]["content"]:
            return text("All done.") if spoken else delegate(("clerk", "First."), ("clerk", "Second."))
        return text(FIVE)

    with ModelServer(respond, latency=0.3) as server:
        run = pair(server).kickoff_async(max_cost=0.22)  # the lead's first call: $0.10, as it has two tool calls
        paused(run)
        assert roles(server) == ["Lead", "Clerk"]
        assert all(call.status == 200 for call in server.ledger)
        assert run.resume(max_cost=1).result(20).raw == "All done."
        assert roles(server) == ["Lead", "Clerk", "Clerk", "Lead"]
        assert run.tasks[0].repeated == 0


def test_a_judge_costs_too(worker: WorkerProcess, model_server: ModelServer) -> None:
    crew = one_task(model_server)
    crew.tasks[0].guardrail = "It has five words."
    model_server.enqueue(text(FIVE), verdict(True))
    run = crew.kickoff_async(max_cost=0.12)
    paused(run)
    assert len(model_server.ledger) == 1
    assert run.resume(max_cost=1).result(20).raw == FIVE
    assert len(model_server.ledger) == 2


def test_other_tasks_of_the_run_end_before_it_pauses(worker: WorkerProcess) -> None:
    with ModelServer(latency=0.3) as server:
        who = agent(llm(server))
        tasks = [
            Task(name=name, description=f"{name} [[say {FIVE}]]", agent=who, async_execution=True) for name in "ab"
        ]
        run = Crew(tasks=tasks).kickoff_async(max_cost=0.14)
        paused(run)
        assert sorted(task.state.value for task in run.tasks) == ["completed", "paused"]
        assert len(server.ledger) == 1
        run.resume(max_cost=1).result(20)
        assert len(server.ledger) == 2


def test_a_tenant_has_so_much_a_day_and_goes_on_with_the_next(
    worker: WorkerProcess, model_server: ModelServer, fleet_server: Server
) -> None:
    crew = one_task(model_server, f"{{x}} [[say {FIVE}]]")
    assert crew.kickoff({"x": 1}, tenant="acme").raw == FIVE
    run = crew.kickoff_async({"x": 2}, tenant="acme")
    reason = paused(run)
    assert reason.startswith("What the tenant acme may spend in a day is used up: $0.05 of $0.12, and the next call")
    assert "goes on by itself when the next day begins" in reason
    assert crew.kickoff({"x": 3}, tenant="other").raw == FIVE, "another's money is its own"
    assert len(model_server.ledger) == 2
    with redis.Redis.from_url(fleet_server.url, decode_responses=True) as client:
        (today,) = list(client.scan_iter("{budgets}:costs:*:acme"))
        client.delete(today)  # a new day has begun
        client.zadd("{budgets}:renewals", {run.id: 1})
    assert run.result(20).raw == FIVE
    assert len(model_server.ledger) == 3


def test_the_command_line_raises_a_budget_and_adds_up_costs(
    own_redis: Server, start_worker: Make, model_server: ModelServer, tmp_path: Path
) -> None:
    start_worker(own_redis.url).ready()
    shell = Shell(tmp_path, CREWQ_REDIS_URL=own_redis.url)
    asked = f'[[call add {{"left": 1, "right": 2}}]] [[say {FIVE}]]'
    run = one_task(model_server, asked, name="sums", tools=[add]).kickoff_async(max_cost=0.12, tenant="acme")
    paused(run)
    assert "tenant acme, budget $0.12" in shell("show", run.id)[0]
    assert "has spent $0.05 already" in shell("resume", run.id, "--budget", "0.05", code=2)[1]
    printed, _ = shell("resume", run.id[:8], "--budget", "5", "--no-progress")
    assert printed == f"{FIVE}\n"
    assert len(model_server.ledger) == 2
    one_task(model_server, f"[[say {FIVE}]]", name="words").kickoff()
    Run(run.id).record()
    shell("delete", run.id)
    found = shell.json("costs", "--by", "tenant", "--by", "crew", "--by", "model")
    rows = [(row["tenant"], row["crew"], row["model"], row["calls"], row["cost"]) for row in found["rows"]]
    assert rows == [("acme", "sums", "openai/any", 2, 0.1), ("default", "words", "openai/any", 1, 0.05)]
    assert found["total"]["cost"] == 0.15
    assert (found["total"]["calls"], found["total"]["completion_tokens"]) == (3, 15)
    assert shell("costs", "--by", "tenant", "--since", "1d")[0].splitlines()[0].split() == [
        "TENANT",
        "CALLS",
        "TOKENS",
        "COST",
    ]
    assert "since 2999-01-01" in shell("costs", "--since", "2999-01-01")[1]
    assert "nor a number of days" in shell("costs", "--since", "soon", code=2)[1]


def test_without_a_budget_nothing_is_asked_before_a_call(
    own_redis: Server, start_worker: Make, model_server: ModelServer
) -> None:
    """The script that keeps budgets is not even known to Redis, so none of its round trips is made."""
    start_worker(own_redis.url).ready()
    store = Store(Settings(redis_url=own_redis.url))
    reserve = store._verbs._script("reserve_call")[1]
    finish = store._verbs._script("finish_call")[1]
    one_task(model_server).kickoff(tenant="acme")
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.script_exists(reserve, finish) == [False, True]
    one_task(model_server).kickoff(max_cost=1.0)
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.script_exists(reserve, finish) == [True, True]
    store.close()
