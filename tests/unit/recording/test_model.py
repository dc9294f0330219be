"""A recorded model, without a run: what is asked once, what is replayed, what is kept out of the file, and who may write it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crewq import LLM, BaseLLM, UsageMetrics, errors
from crewq.agent.fallback import FallbackModel, Substitute
from crewq.model import Features, Message, ModelAnswer, ModelRequest, OnToken, ToolCall
from crewq.recording import RecordedModel
from crewq.testing import ScriptedModel

NAME = "openai/any"
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"required": ["a", "b"]}}}
KEY = "not-a-form-that-is-known-4711"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREWQ_RECORD", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recordings" / "crew.json"


class Real:
    """A model that is asked for money: says which call it is, unless it was told what to say."""

    def __init__(self, *says: ModelAnswer | errors.CrewqError) -> None:
        self.says = list(says)
        self.asked: list[ModelRequest] = []

    def features(self) -> Features:
        return Features(answer_schema=True, context_window=4711)

    async def complete(self, request: ModelRequest, on_token: OnToken | None = None) -> ModelAnswer:
        self.asked.append(request)
        said = self.says.pop(0) if self.says else ModelAnswer(text=f"answer {len(self.asked)}")
        await asyncio.sleep(0)
        if isinstance(said, errors.CrewqError):
            raise said
        if on_token:
            on_token(said.text)
        return said


def recorder(file: Path, real: Real, of: Any = NAME, **fields: Any) -> RecordedModel:
    model = RecordedModel(of, file=file, **{"record": "new", **fields})
    model.stand_before(lambda: real)
    return model


def request(prompt: str = "Find a fact about bees.", *more: Message, **parts: Any) -> ModelRequest:
    messages: list[Message] = [{"role": "system", "content": "You are terse.\nYou are exact."}]
    messages += [{"role": "user", "content": prompt}, *more]
    return ModelRequest(model="recorded", messages=tuple(messages), **parts)


def ask(model: RecordedModel, *requests: ModelRequest, on_token: OnToken | None = None) -> list[ModelAnswer]:
    async def together() -> list[ModelAnswer]:
        return list(await asyncio.gather(*(model.complete(one, on_token) for one in requests)))

    return asyncio.run(together())


def refusal(model: RecordedModel, asked: ModelRequest) -> str:
    with pytest.raises(errors.NotRecorded) as caught:
        ask(model, asked)
    return str(caught.value)


# -- recorded, and replayed ----------------------------------------------------------------------------------


def test_what_was_answered_once_is_answered_again_and_nobody_is_asked(file: Path) -> None:
    usage = UsageMetrics(total_tokens=12, prompt_tokens=10, completion_tokens=2, successful_requests=1, cost=0.25)
    call = ToolCall(id="call_1", name="search", arguments='{"a": 1}')
    turn = ModelAnswer(tool_calls=(call,), finish_reason="tool_calls", usage=usage)
    end = ModelAnswer(text='{"name": "Ada"}\n\nin two lines', usage=usage)
    second = request("Who?", {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]})
    schema = {"type": "object"}
    requests = (request("Who?", tools=(TOOL,)), second.model_copy(update={"answer_schema": schema}))

    real = Real(turn, end)
    first = recorder(file, real)
    assert [ask(first, one)[0] for one in requests] == [turn, end]
    replayed = RecordedModel(NAME, file=file)
    assert [ask(replayed, one)[0] for one in requests] == [turn, end]
    assert len(real.asked) == 2
    assert replayed.features() == real.features()
    with pytest.raises(errors.NotRecorded):
        ask(replayed, second)  # without the schema, it is another request


def test_the_file_is_json_for_people(file: Path) -> None:
    ask(recorder(file, Real(ModelAnswer(text="one\ntwo"))), request())
    raw = json.loads(file.read_text())
    (call,) = raw["calls"]
    assert call["model"] == NAME
    assert call["messages"][0]["content"] == ["You are terse.", "You are exact."], "a line each"
    assert call["messages"][1]["content"] == "Find a fact about bees."
    assert call["answer"]["text"] == ["one", "two"]
    assert '\n      "You are terse.",\n' in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_hand_may_change_an_answer(file: Path) -> None:
    ask(recorder(file, Real()), request())
    file.write_text(file.read_text().replace("answer 1", "Bees dance."))
    assert ask(RecordedModel(NAME, file=file), request())[0].text == "Bees dance."


def test_a_replayed_answer_is_streamed_word_by_word(file: Path) -> None:
    live: list[str] = []
    ask(recorder(file, Real(ModelAnswer(text="Bees  dance.\nThey do."))), request(), on_token=live.append)
    told: list[str] = []
    ask(RecordedModel(NAME, file=file), request(), on_token=told.append)
    assert (live, told) == (["Bees  dance.\nThey do."], ["Bees  ", "dance.\n", "They ", "do."])


def test_the_options_of_the_real_model_are_asked_with_and_compared(file: Path) -> None:
    real = Real()
    llm = LLM(model=NAME, temperature=0.5, base_url="http://one:1/v1", timeout=7)
    ask(recorder(file, real, llm), request())
    assert real.asked[0].options == {"temperature": 0.5, "base_url": "http://one:1/v1", "timeout": 7}
    assert real.asked[0].model == NAME
    elsewhere = LLM(model=NAME, temperature=0.5, base_url="http://other:2/v1")
    assert ask(RecordedModel(elsewhere, file=file), request())[0].text == "answer 1"
    hotter = LLM(model=NAME, temperature=0.9)
    assert "in the option temperature:\n    - 0.5\n    + 0.9" in refusal(RecordedModel(hotter, file=file), request())


def test_what_a_provider_refuses_for_good_is_recorded_too(file: Path) -> None:
    refused = errors.ContextTooLong(model=NAME, reason="256 tokens")
    real = Real(refused, errors.RateLimited(model=NAME, status=429, reason="slow down"))
    with pytest.raises(errors.ContextTooLong):
        ask(recorder(file, real), request())
    with pytest.raises(errors.ContextTooLong, match="256 tokens"):
        ask(RecordedModel(NAME, file=file), request())
    with pytest.raises(errors.RateLimited):
        ask(recorder(file, real), request("more"))
    assert refusal(RecordedModel(NAME, file=file), request("more")), "what passes is no part of a recording"


def test_one_of_the_users_own_can_stand_behind_it(file: Path) -> None:
    model = RecordedModel(ScriptedModel(answers=["scripted"]), file=file)
    assert (model.model, model.of.reference) == ("scripted", "crewq.testing:ScriptedModel")

    class Local(BaseLLM):
        pass

    with pytest.raises(errors.NotPortable, match=r"behind the recording crew\.json"):
        RecordedModel(Local(), file=file)


def test_a_fallback_answers_for_the_real_model_and_the_file_says_so(file: Path) -> None:
    down = [errors.ModelUnavailable(model="a", status=503, reason="down")] * 2
    first, second = Real(*down), Real()
    llm = LLM(model="openai/a", temperature=0.5, fallbacks=[LLM(model="openai/b", top_p=0.9)])
    model = RecordedModel(llm, file=file, record="new")
    spec = model.of
    model.stand_before(lambda: FallbackModel([first, Substitute(second, spec.fallbacks[0], spec)]))
    (answer,) = ask(model, request())
    assert (answer.text, answer.answered_by) == ("answer 1", "openai/b")
    assert [(one.model, one.options) for one in (*first.asked, *second.asked)] == [
        ("openai/a", {"temperature": 0.5}),
        ("openai/b", {"top_p": 0.9}),
    ]
    (call,) = json.loads(file.read_text())["calls"]
    assert (call["model"], call["answer"]["answered_by"]) == ("openai/a", "openai/b")
    assert ask(RecordedModel(llm, file=file), request()) == [answer]


def test_a_literal_key_of_a_fallback_is_refused(file: Path) -> None:
    with pytest.raises(errors.LiteralKey, match="'openai/b'"):
        RecordedModel(LLM(model="openai/a", fallbacks=[LLM(model="openai/b", api_key=SecretStr(KEY))]), file=file)


# -- what changed ---------------------------------------------------------------------------------------------


def test_a_changed_prompt_is_shown_against_the_one_most_like_it(file: Path) -> None:
    long = "Background that stays as it is, whatever happens to the rest of what is asked here. " * 3
    model = recorder(file, Real())
    ask(model, request("Write a rhyme."))  # by itself: two that are asked at once are recorded as they are answered
    ask(model, request(f"{long}Find a fact about bees. {long}"))
    said = refusal(RecordedModel(NAME, file=file), request(f"{long}Find a fact about wasps. {long}"))
    assert f"The recording {file} has no answer of {NAME} to this request. Number 2 in it is most like it" in said
    assert "in message 2 (user):\n    - …" in said
    (old,) = (line for line in said.splitlines() if line.startswith("    - "))
    (new,) = (line for line in said.splitlines() if line.startswith("    + "))
    assert "Find a fact about bees." in old
    assert "Find a fact about wasps." in new
    assert max(len(old), len(new)) < 120, "what stays the same is left out"
    assert "system" not in said
    assert "CREWQ_RECORD=new" in said


def test_a_changed_tool_and_one_message_more_are_named(file: Path) -> None:
    ask(recorder(file, Real()), request("Who?", tools=(TOOL,)))
    other = {"type": "function", "function": {"name": "search", "parameters": {"required": ["a"]}}}
    said = refusal(
        RecordedModel(NAME, file=file), request("Who?", {"role": "user", "content": "Again."}, tools=(other,))
    )
    assert "in the tool search:" in said
    assert "in message 3 (user):\n    + Again." in said


def test_what_is_ignored_is_not_compared(file: Path) -> None:
    dates = [r"\d{4}-\d\d-\d\d"]
    ask(recorder(file, Real(), ignore=dates), request("Today is 2026-11-21."))
    later = RecordedModel(NAME, file=file, ignore=dates)
    assert ask(later, request("Today is 2027-01-02."))[0].text == "answer 1"
    assert "2027" not in refusal(later, request("Now it is 2027-01-02."))
    with pytest.raises(errors.InvalidField, match=r"'\(' is not a regular expression"):
        RecordedModel(NAME, file=file, ignore=["("])


def test_a_very_different_request_is_cut_short(file: Path) -> None:
    ask(recorder(file, Real()), request("\n".join(f"line {at}" for at in range(200))))
    said = refusal(RecordedModel(NAME, file=file), request("x" * 5000))
    assert "lines more" in said
    assert len(said) < 3000


# -- recording ------------------------------------------------------------------------------------------------


def test_without_a_recording_it_says_how_to_make_one(file: Path) -> None:
    model = RecordedModel(NAME, file=file)
    for use in (model.features, lambda: ask(model, request())):
        with pytest.raises(errors.RecordingUnusable, match=r"is not there.\nRecord it, .*CREWQ_RECORD=new"):
            use()
    assert not file.parent.exists()
    ask(recorder(file, Real()), request())
    with pytest.raises(errors.RecordingUnusable, match="nothing of it there"):
        RecordedModel("openai/other", file=file).features()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"crewq_recording": 1,\n<<<<<<< ours', "line 2 is not JSON"),
        ("[]", "no recording of crewq's"),
        ("{}", "no recording of crewq's"),
        ('{"crewq_recording": 1, "recorded": "", "models": {}, "calls": [{"messages": []}]}', "no recording"),
        ('{"crewq_recording": 2}', "a newer crewq wrote it"),
    ],
)
def test_a_broken_file_is_an_error_that_says_where(file: Path, text: str, said: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(errors.RecordingUnusable, match=said):
        ask(RecordedModel(NAME, file=file), request())
    with pytest.raises(errors.RecordingUnusable, match=said):
        ask(recorder(file, Real()), request())
    assert file.read_text() == text, "nothing is overwritten that could not be read"


def test_a_variable_says_what_is_recorded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RecordedModel(NAME, file=file).record == ""
    monkeypatch.setenv("CREWQ_RECORD", "new")
    assert RecordedModel(NAME, file=file).record == "new"
    assert RecordedModel(NAME, file=file, record="").record == ""
    monkeypatch.setenv("CREWQ_RECORD", "yes")
    with pytest.raises(errors.SettingInvalid, match="CREWQ_RECORD='yes'"):
        RecordedModel(NAME, file=file)


def test_new_asks_for_what_is_missing_only(file: Path) -> None:
    ask(recorder(file, Real()), request("one"))
    real = Real(ModelAnswer(text="second"))
    said = ask(recorder(file, real), request("one"), request("two"))
    assert [answer.text for answer in said] == ["answer 1", "second"]
    assert len(real.asked) == 1


def test_all_begins_anew_and_what_is_not_asked_any_more_is_gone(file: Path) -> None:
    ask(recorder(file, Real()), request("one"), request("old"))
    mine, other = (recorder(file, Real(ModelAnswer(text="anew")), record="all") for _ in range(2))
    assert ask(mine, request("one"))[0].text == "anew"
    assert ask(other, request("two"))[0].text == "anew", "of one process, all models record into the same"
    assert ask(other, request("one"))[0].text == "anew"
    prompts = [call["messages"][1]["content"] for call in json.loads(file.read_text())["calls"]]
    assert prompts == ["one", "two"]


def test_the_same_request_at_once_is_asked_once(file: Path) -> None:
    real = Real()
    said = ask(recorder(file, real), *[request("one")] * 5, *[request("two")] * 5)
    assert sorted({answer.text for answer in said}) == ["answer 1", "answer 2"]
    assert len(real.asked) == 2


def _record_in_process(file: Path, name: str, prompts: Sequence[str]) -> None:
    model = recorder(file, Real(*(ModelAnswer(text=f"{name} of {prompt}") for prompt in prompts)))
    for prompt in prompts:
        ask(model, request(prompt))


def test_several_processes_write_one_file(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    jobs = [
        context.Process(target=_record_in_process, args=(file, name, [*(f"{name}{at}" for at in range(20)), "shared"]))
        for name in "ab"
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    prompts = [call["messages"][1]["content"] for call in json.loads(file.read_text())["calls"]]
    assert sorted(prompts) == sorted([f"{name}{at}" for name in "ab" for at in range(20)] + ["shared"])
    assert ask(RecordedModel(NAME, file=file), request("shared"))[0].text in {f"{name} of shared" for name in "ab"}


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(errors.RecordingUnusable, match="Give it a place that may be written"):
        ask(recorder(tmp_path / "a-file" / "crew.json", Real()), request())


# -- secrets --------------------------------------------------------------------------------------------------


def test_no_secret_gets_into_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    keys = (KEY, "sk-proj-abcdefghijklmnop1234", "hunter22", "ghp_abcdefghijklmnopqrstuvwxyz0123", "user:pass")
    llm = LLM(model=NAME, additional_params={"top_k": 5})
    way = {
        "base_url": "https://user:pass@host/v1",
        "extra_headers": {"X-Auth": "hunter22"},
        "proxy_password": "hunter22",
    }
    also: Message = {"role": "user", "content": [{"type": "text", "text": f"or {keys[1]}"}]}
    asked = request(f"The key is {KEY}.", also, tools=(TOOL,), options=way)
    answer = ModelAnswer(text=f"You said {KEY}, {keys[3]}", tool_calls=(ToolCall(id="1", name=KEY, arguments=KEY),))
    ask(recorder(file, Real(answer), llm), asked)
    assert [key for key in keys if key in file.read_text()] == []
    assert "<SOME_API_KEY>" in file.read_text()
    assert ask(RecordedModel(llm, file=file), asked)[0].text == "You said <SOME_API_KEY>, <secret>"

    with pytest.raises(errors.ModelRefused):
        ask(recorder(file, Real(errors.ModelRefused(model=NAME, status=400, reason=f"not with {KEY}")), llm), request())
    assert KEY not in file.read_text()

    monkeypatch.delenv("SOME_API_KEY")  # as in CI
    asked = asked.model_copy(
        update={"messages": tuple(json.loads(json.dumps(asked.messages).replace(KEY, "<SOME_API_KEY>")))}
    )
    assert ask(RecordedModel(llm, file=file), asked)[0].text == "You said <SOME_API_KEY>, <secret>"


def test_a_literal_key_is_refused(file: Path) -> None:
    with pytest.raises(errors.LiteralKey):
        RecordedModel(LLM(model=NAME, api_key=KEY), file=file)
