"""The scripted model: stateless, keyed, plain data."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.model import Message, ModelRequest
from crewq.testing import ScriptedModel, call

pytestmark = pytest.mark.asyncio


def asked(prompt: str = "go", *replies: str) -> ModelRequest:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    for reply in replies:
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "go on"}]
    return ModelRequest(model="scripted", messages=tuple(messages))


async def test_the_conversation_decides_which_answer_comes_next() -> None:
    model = ScriptedModel(answers=["one", "two"])
    assert (await model.complete(asked())).text == "one"
    assert (await model.complete(asked())).text == "one"
    assert (await model.complete(asked("go", "one"))).text == "two"


async def test_the_answers_need_no_name() -> None:
    model = ScriptedModel(["one", "two"], latency_seconds=0)
    assert model == ScriptedModel(answers=["one", "two"])
    assert (await model.complete(asked("go", "one"))).text == "two"


async def test_it_travels_as_plain_data() -> None:
    model = ScriptedModel(
        answers=[call("a", x=1), [call("b"), call("c", y=[1])], "end"],
        keyed=[{"match": "sums", "answers": ["4"]}],
        latency_seconds=0,
    )
    assert ScriptedModel.model_validate_json(model.model_dump_json()) == model


async def test_calls_have_ids_that_tell_them_apart() -> None:
    model = ScriptedModel(answers=[[call("b"), call("c", y=1)], call("d")])
    first = await model.complete(asked())
    second = await model.complete(asked("go", "x"))
    assert [(made.name, made.arguments) for made in first.tool_calls] == [("b", "{}"), ("c", '{"y": 1}')]
    assert len({made.id for made in (*first.tool_calls, *second.tool_calls)}) == 3
    assert first.finish_reason == "tool_calls"


async def test_without_native_tools_a_call_is_written_out() -> None:
    answer = await ScriptedModel(answers=[call("b", y=1)], native_tools=False).complete(asked())
    assert answer.tool_calls == ()
    assert answer.text.endswith('Action: b\nAction Input: {"y": 1}')


async def test_one_model_serves_several_tasks() -> None:
    keyed = [{"match": "sums", "answers": ["4"]}, {"match": "poems", "answers": ["roses", "violets"]}]
    model = ScriptedModel(answers=["else"], keyed=keyed)
    assert (await model.complete(asked("do sums"))).text == "4"
    assert (await model.complete(asked("write poems", "roses, not sums"))).text == "violets"
    assert (await model.complete(asked("sing"))).text == "else"


async def test_a_script_that_is_too_short_is_an_error_that_says_so() -> None:
    with pytest.raises(
        errors.ModelRefused, match="the script has 1 answers for this conversation, which asks for number 2"
    ):
        await ScriptedModel(answers=["one"]).complete(asked("go", "one"))


async def test_words_are_counted_and_cost_nothing() -> None:
    usage = (await ScriptedModel(answers=["one two three"]).complete(asked("four words of prompt"))).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (4, 3, 7)
    assert (usage.successful_requests, usage.cost, usage.cost_known) == (1, 0.0, True)
