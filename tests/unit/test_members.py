"""What a person writes: nothing that was written is silently ignored."""

from __future__ import annotations

import hashlib
import re
import traceback
import uuid
from typing import Any

import pytest
from pydantic import SecretStr

from crewq import errors, lacking
from crewq.crew import Crew
from crewq.language_model import LLM
from crewq.members import NOT_SPECIFIED, Agent, ConditionalTask, Task
from crewq.outputs import Effort, TaskOutput, ToolFailure, ToolFailureRecord
from tests.unit.parts import Report, agent, search, task

MEMBERS: list[tuple[Any, dict[str, Any]]] = [
    (Agent, {"role": "R", "goal": "G", "backstory": "B"}),
    (Task, {"description": "D"}),
    (LLM, {"model": "m"}),
    (Crew, {}),
]

WHO = ("role", "goal", "backstory")


def test_the_defaults_are_crewais() -> None:
    writer = Agent(role="R", goal="G", backstory="B")
    assert (writer.max_iter, writer.max_retry_limit, writer.respect_context_window) == (25, 2, True)
    assert (writer.llm, writer.tools, writer.max_rpm, writer.max_execution_time) == (None, [], None, None)
    write = Task(description="D")
    assert (write.context, write.async_execution, write.tools) == (NOT_SPECIFIED, False, None)
    assert isinstance(write.id, uuid.UUID)
    assert write.id != Task(description="D").id


@pytest.mark.parametrize(
    ("kind", "field", "near"),
    [
        (Agent, "back_story", "backstory"),
        (Agent, "tool", "tools"),
        (Agent, "max_iters", "max_iter"),
        (Task, "expected_ouput", "expected_output"),
        (Task, "async", None),
        (LLM, "temprature", "temperature"),
        (Crew, "task", "tasks"),
    ],
)
def test_a_slip_of_the_pen_is_told_with_what_was_meant(kind: Any, field: str, near: str | None) -> None:
    with pytest.raises(errors.UnknownField) as caught:
        kind(**dict(MEMBERS)[kind], **{field: "x"})
    assert f"{kind.__name__} has no field {field!r}" in str(caught.value)
    if near:
        assert f"Did you mean {near!r}?" in str(caught.value)
    with pytest.raises(errors.UnknownField):
        setattr(kind(**dict(MEMBERS)[kind]), field, "x")


LACKING = [(kind, needed, name) for kind, needed in MEMBERS for name in kind.lacks]


@pytest.mark.parametrize(("kind", "needed", "name"), LACKING, ids=lambda item: getattr(item, "__name__", str(item)))
def test_a_field_of_crewais_that_is_lacking_is_refused_with_advice(kind: Any, needed: Any, name: str) -> None:
    with pytest.raises(errors.UnsupportedField) as caught:
        kind(**needed, **{name: True})
    assert str(caught.value).startswith(f"{kind.__name__}({name}=True) is CrewAI's")
    assert kind.lacks[name] in str(caught.value)
    made = kind(**needed, **{name: None})  # what asks for nothing is accepted
    assert name not in kind.model_fields
    with pytest.raises(errors.UnsupportedMethod) as looked_up:
        getattr(made, name)
    assert kind.lacks[name] in str(looked_up.value)
    assert not hasattr(made, name)
    setattr(made, name, None)
    with pytest.raises(errors.UnsupportedField):
        setattr(made, name, True)


IGNORED = [(kind, needed, name) for kind, needed in MEMBERS for name in kind.ignores]


@pytest.mark.parametrize(("kind", "needed", "name"), IGNORED, ids=lambda item: getattr(item, "__name__", str(item)))
def test_a_field_without_effect_is_taken_with_a_warning_where_it_is_written(kind: Any, needed: Any, name: str) -> None:
    with pytest.warns(
        errors.FieldIgnored, match=rf"{kind.__name__}\({name}=...\) is CrewAI's, and has no eff"
    ) as caught:
        made = kind(**needed, **{name: 1})
    assert caught[0].filename == __file__
    assert kind.ignores[name] in str(caught[0].message)
    assert getattr(made, name) == 1
    assert not getattr(kind(**needed, **{name: None} if name != "reasoning" else {name: False}), name), "and no warning"


METHODS = [(kind, needed, name) for kind, needed in MEMBERS for name in kind.lacks_methods]


@pytest.mark.parametrize(("kind", "needed", "name"), METHODS, ids=lambda item: getattr(item, "__name__", str(item)))
def test_a_method_of_crewais_that_is_lacking_is_an_error_with_advice(kind: Any, needed: Any, name: str) -> None:
    with pytest.raises(errors.UnsupportedMethod) as caught:
        getattr(kind(**needed), name)("anything")
    assert str(caught.value) == f"{kind.__name__}.{name} is CrewAI's, and crewq does not have it: " + " ".join(
        kind.lacks_methods[name].split()
    )
    assert isinstance(caught.value, AttributeError)


@pytest.mark.parametrize("name", lacking.NAMES)
def test_a_name_of_crewais_module_that_is_lacking_says_what_to_do(name: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from crewq import {name}")
    assert str(caught.value) == f"{name} is CrewAI's, and crewq has none: " + " ".join(lacking.NAMES[name].split())
    with pytest.raises(ImportError, match="cannot import name 'Agnet'"):
        exec("from crewq import Agnet")


@pytest.mark.parametrize("name", ["from_checkpoint", "fork"])
def test_a_method_of_the_class_that_is_lacking_is_one_too(name: str) -> None:
    with pytest.raises(errors.UnsupportedMethod, match=f"Crew.{name} is CrewAI's"):
        getattr(Crew, name)("checkpoint", branch="b")


@pytest.mark.parametrize(
    "method", ["kickoff", "kickoff_async", "akickoff", "kickoff_for_each", "kickoff_for_each_async"]
)
@pytest.mark.parametrize("argument", ["from_checkpoint", "input_files"])
def test_an_argument_of_crewais_that_is_lacking_is_an_error_before_anything_is_started(
    method: str, argument: str
) -> None:
    with pytest.raises(errors.UnsupportedField, match=rf"\({argument}=...\) is CrewAI's"):
        getattr(Crew(), method)([], **{argument: "x"})


def test_an_argument_that_is_lacking_may_stand_in_its_place() -> None:
    """CrewAI's are `kickoff(inputs, input_files, from_checkpoint)`."""
    with pytest.raises(errors.UnsupportedField, match=r"Crew.kickoff\(input_files=...\)"):
        Crew().kickoff({}, {"file": "x"})  # type: ignore[call-arg]
    with pytest.raises(errors.UnsupportedField, match=r"\(from_checkpoint=...\)"):
        Crew().kickoff({}, None, "x")  # type: ignore[call-arg]
    with pytest.raises(errors.EmptyCrew):
        Crew().kickoff({}, None, None)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Crew().kickoff({}, None, None, "x")  # type: ignore[call-arg]


def test_a_model_may_be_named_without_saying_that_it_is_one() -> None:
    assert LLM("openai/any", temperature=0) == LLM(model="openai/any", temperature=0)  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidField):
        LLM(temperature=0)  # type: ignore[call-arg]


def test_a_name_that_nobody_knows_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError) as caught:
        Crew().kickof  # noqa: B018
    assert type(caught.value) is AttributeError


def test_keys_are_crewais() -> None:
    assert task("D", expected_output="E").key == hashlib.md5(b"D|E").hexdigest()
    assert agent().key == hashlib.md5(b"|".join(getattr(agent(), name).encode() for name in WHO)).hexdigest()
    both = f"{agent().key}|{task('D').key}"
    assert Crew(agents=[agent()], tasks=[task("D")]).key == hashlib.md5(both.encode()).hexdigest()


def test_a_crew_that_has_not_run_has_used_nothing() -> None:
    assert Crew().calculate_usage_metrics().total_tokens == 0
    assert Crew().token_usage is None


@pytest.mark.parametrize(
    ("kind", "fields", "where", "reason"),
    [
        (Agent, {"role": "R", "goal": "G"}, "Agent(backstory=...)", "required"),
        (Agent, {"role": "R", "goal": "G", "backstory": "B", "max_iter": 0}, "Agent(max_iter=...)", "greater"),
        (Agent, {"role": "R", "goal": "G", "backstory": "B", "tools": ["x"]}, "Agent(tools.0=...)", "BaseTool"),
        (Agent, {"role": "R", "goal": "G", "backstory": "B", "max_execution_time": 0}, "Agent(max_exec", "greater"),
        (
            Agent,
            {"role": "R", "goal": "G", "backstory": "B", "code_execution_mode": "unsafe"},
            "Agent(code",
            "never run in the worker",
        ),
        (Agent, {"role": "R", "goal": "G", "backstory": "B", "sandbox": "exec"}, "Agent(sandbox=...)", "'container'"),
        (Task, {"description": "D", "agent": "R"}, "Task(agent=...)", "Agent"),
        (Task, {"description": "D", "output_json": Report, "output_pydantic": Report}, "Task(...)", "exclude each"),
        (Task, {"description": "D", "context": ["x"]}, "Task(...)", "list of Task"),
        (Task, {"description": "D", "context": Task(description="E")}, "Task(...)", "list of Task"),
        (Task, {"description": "D", "callback": "print"}, "Task(callback=...)", "callable"),
        (LLM, {}, "LLM(model=...)", "required"),
        (LLM, {"model": "m", "temperature": "warm"}, "LLM(temperature=...)", "number"),
        (LLM, {"model": "m", "rpm": 0}, "LLM(rpm=...)", "greater than or equal to 1"),
        (LLM, {"model": "m", "fallbacks": [LLM(model="n", fallbacks=["o"])]}, "LLM(fallbacks=...)", "one list"),
        (LLM, {"model": "m", "additional_params": {"api_key": "k"}}, "LLM(additional_params=...)", "api_key=..."),
    ],
)
def test_a_value_that_is_not_valid_is_told_by_its_field(kind: Any, fields: Any, where: str, reason: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        kind(**fields)
    assert str(caught.value).startswith(where)
    assert reason in str(caught.value)
    assert not re.search(r"Value error|\.\.$", str(caught.value))


def test_a_value_assigned_later_is_held_to_the_same_rules() -> None:
    writer = agent()
    writer.max_iter = 3
    with pytest.raises(errors.InvalidField, match="max_iter"):
        writer.max_iter = 0
    assert writer.max_iter == 3
    with pytest.raises(errors.InvalidField, match="list of Task"):
        task().context = ["x"]


def test_an_llm_may_be_written_as_a_dict() -> None:
    writer = agent(llm={"model": "m", "temperature": 0.5, "api_key": "k"})
    assert isinstance(writer.llm, LLM)
    assert writer.llm.options() == {"temperature": 0.5}
    with pytest.raises(errors.UnknownField, match=r"LLM has no field 'temprature'.*'temperature'"):
        agent(llm={"model": "m", "temprature": 0.5})


def test_options_are_all_that_was_set() -> None:
    llm = LLM(model="m", seed=0, stop=["x"], logit_bias={1: 2.0}, api_key=SecretStr("k"), additional_params={"n": 1})
    assert llm.options() == {"seed": 0, "stop": ["x"], "logit_bias": {"1": 2.0}, "n": 1} or llm.options() == {
        "seed": 0, "stop": ["x"], "logit_bias": {1: 2.0}, "n": 1,
    }  # fmt: skip
    assert LLM(model="m").options() == {}
    assert LLM(model="m", rpm=1, tpm=2, max_concurrency=3, fallbacks=["n"]).options() == {}, "no provider is sent these"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m", "api_key": "sk-hunter2", "temperature": "warm"},
        {"api_key": "sk-hunter2"},
        {"model": "m", "additional_params": {"api_key": "sk-hunter2"}},
        {"model": "m", "api_key": ["sk-hunter2"]},
    ],
)
def test_a_key_is_in_no_text_of_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        LLM(**fields)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace("LLM(**fields)", "")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"additional_params": {"extra_headers": {"Authorization": "Bearer hunter2-hunter2"}}}, "extra_headers.Auth"),
        ({"additional_params": {"extra_headers": {"x-portkey-api-key": "hunter2"}}}, "extra_headers.x-portkey-api-key"),
        ({"additional_params": {"headers": {"Gateway-Key": "hunter2"}}}, "headers.Gateway-Key"),
        ({"additional_params": {"aws_secret_access_key": "hunter2"}}, "aws_secret_access_key"),
        ({"additional_params": {"extra_body": {"user": "sk-hunter2hunter2hunter2"}}}, "extra_body.user"),
        ({"base_url": "https://me:hunter2@models.example.com/v1"}, "it"),
        ({"api_base": "https://models.example.com/v1?api-key=hunter2"}, "it"),
    ],
)
def test_what_looks_like_a_key_in_an_llm_is_refused_where_it_is_written(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(errors.InvalidField, match=f"{where}.* what looks like a key") as caught:
        LLM(model="m", **fields)
    assert "hunter2" not in str(caught.value)


def test_what_is_no_key_may_be_among_the_options_of_an_llm() -> None:
    harmless = {"extra_headers": {"X-Title": "crews"}, "prompt_cache_key": "crews", "max_tokens": 5, "top_k": 1}
    llm = LLM(model="m", base_url="http://localhost:8000/v1?version=2", additional_params=harmless)
    assert llm.options() == {"base_url": llm.base_url, **harmless}


def test_a_key_is_in_no_repr_and_in_no_dump() -> None:
    llm = LLM(model="m", api_key=SecretStr("sk-hunter2"))
    writer = agent(llm=llm)
    for text in (
        repr(llm),
        str(llm),
        llm.model_dump_json(),
        str(llm.options()),
        repr(writer),
        writer.model_dump_json(),
    ):
        assert "hunter2" not in text


def test_a_condition_can_be_asked_where_it_is_written() -> None:
    asks = ConditionalTask(description="Go on.", condition=lambda output: "go" in output.raw, agent=agent())
    assert asks.should_execute(TaskOutput(raw="go"))
    assert not asks.should_execute(TaskOutput(raw="stay"))
    assert (asks.get_skipped_task_output().raw, asks.get_skipped_task_output().agent) == ("", "Writer")


def test_members_are_the_objects_that_were_given() -> None:
    writer = agent(tools=[search])
    first = task(by=writer)
    second = task(by=writer, context=[first])
    crew = Crew(agents=[writer], tasks=[first, second])
    assert crew.tasks[0] is first
    assert crew.agents[0] is writer
    assert crew.tasks[1].context[0] is first
    assert writer.tools[0] is search


def test_a_task_tells_what_it_asks_for() -> None:
    plain = Task(description="Count {what}.")
    assert plain.prompt() == "Your task:\nCount {what}."
    asked = Task(description="Count.", expected_output="A number.", markdown=True).prompt()
    assert asked.startswith("Your task:\nCount.\n\nWhat the answer must be:\nA number.\n\nWrite the answer in Markdown")


def test_what_an_agent_did_stands_on_its_task() -> None:
    one = task()
    assert (one.retry_count, one.used_tools, one.tools_errors, one.delegations) == (0, 0, 0, 0)
    assert one.processed_by_agents == set()
    failure = ToolFailureRecord(tool_name="add", failure=ToolFailure(message="no", code="c"), task_name="sum")
    effort = Effort(used_tools={"add": 2, "look": 1}, refusals=1, coworkers=("Clerk", "Clerk"))
    one.output = TaskOutput(agent="Lead", tool_failures=[failure], effort=effort)
    assert (one.retry_count, one.used_tools, one.tools_errors, one.delegations) == (1, 3, 1, 2)
    assert one.processed_by_agents == {"Lead", "Clerk"}
    assert failure.summary() == "Tool 'add' failed during 'sum': no (code: c)"
    assert failure.message == "no"


def test_an_old_name_of_a_field_stands_for_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="guardrail_max_retries") as caught:
        old = Task(description="Count.", max_retries=5)
    assert caught[0].filename == __file__
    assert old.guardrail_max_retries == 5
    old.output = TaskOutput(raw="no further warning")
    assert Task(description="Count.", max_retries=None).guardrail_max_retries == 3


def test_the_digest_of_an_output_is_of_what_it_says() -> None:
    """Who was asked about an output by an earlier version is not asked again."""
    said = TaskOutput(description="Count.", raw="Four.", agent="Clerk")
    assert said.digest() == said.model_copy(update={"effort": Effort(refusals=1)}).digest()
    assert said.digest() == "c2f06e9b4a7f52d7751aba65c54d594e"
    assert said.digest("function") not in (said.digest(), said.model_copy(update={"raw": "Five."}).digest("function"))
