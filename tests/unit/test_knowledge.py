"""What agents go by: where it is read from, in which pieces it travels, and what is no such thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crewq import Agent, Crew, Task, errors
from crewq.knowledge import (
    MOST,
    BaseKnowledgeSource,
    CSVKnowledgeSource,
    JSONKnowledgeSource,
    KnowledgeConfig,
    StringKnowledgeSource,
    TextFileKnowledgeSource,
    pieces_of,
)
from crewq.spec import CrewSpec
from tests.unit.parts import EMBEDDED


class Weather(BaseKnowledgeSource):
    """As CrewAI's documentation writes one."""

    town: str

    def load_content(self) -> dict[Any, str]:
        return {self.town: f"It rains in {self.town}."}

    def validate_content(self) -> None:
        """CrewAI's; asked by nobody."""

    def add(self) -> None:
        for text in self.load_content().values():
            self.chunks.extend(self._chunk_text(text.upper()))
        self._save_documents()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "knowledge").mkdir()
    (tmp_path / "knowledge" / "facts.txt").write_text("Bees dance.")
    (tmp_path / "other.txt").write_text("Ants walk.")
    (tmp_path / "knowledge" / "people.csv").write_text('name,age\n"Ann, the elder",80\n')
    (tmp_path / "knowledge" / "tree.json").write_text('{"root": {"leaves": ["green", 3]}, "age": null}')
    (tmp_path / "knowledge" / "broken.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "pieces"),
    [
        (StringKnowledgeSource(content="x" * 10, chunk_size=4, chunk_overlap=1), ["xxxx"] * 3),
        (StringKnowledgeSource(content="abcdefgh", chunk_size=4, chunk_overlap=2), ["abcd", "cdef", "efgh"]),
        (StringKnowledgeSource(content="ab", chunk_size=1, chunk_overlap=5), ["a"]),
        (StringKnowledgeSource(content="  \n"), []),
        (TextFileKnowledgeSource(file_paths="facts.txt"), ["Bees dance."]),
        (TextFileKnowledgeSource(file_paths=["facts.txt", Path("other.txt")]), ["Bees dance.", "Ants walk."]),
        (TextFileKnowledgeSource(file_path="facts.txt"), ["Bees dance."]),
        (CSVKnowledgeSource(file_paths=["people.csv"]), ["name age\nAnn, the elder 80"]),
        (JSONKnowledgeSource(file_paths=["tree.json"]), ["root.leaves: green\nroot.leaves: 3\nage: None"]),
        (Weather(town="Bergen"), ["IT RAINS IN BERGEN."]),
    ],
)
def test_it_is_read_in_pieces(source: BaseKnowledgeSource, pieces: list[str]) -> None:
    assert source.pieces() == pieces
    assert source.pieces() == pieces, "as often as it is asked"
    assert pieces_of([source, source], "Agent") == tuple(dict.fromkeys(pieces))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            TextFileKnowledgeSource(file_paths="no.txt"),
            r"file_paths=knowledge/no.txt\) is not valid: it cannot be read",
        ),
        (TextFileKnowledgeSource(file_paths=[Path()]), r"it cannot be read: Is a directory"),
        (TextFileKnowledgeSource(), "no file is named"),
        (JSONKnowledgeSource(file_paths="broken.json"), "it is not what it should be"),
        (StringKnowledgeSource(content="x" * (MOST + 5), chunk_size=MOST), "at most 1,000,000 travel with a crew"),
    ],
)
def test_what_cannot_travel_is_told_at_kickoff(source: BaseKnowledgeSource, told: str) -> None:
    who = Agent(role="R", goal="G", backstory="B", knowledge_sources=[source])
    with pytest.raises(errors.InvalidField, match=told):
        Crew(tasks=[Task(description="D", agent=who)]).spec(EMBEDDED)


def test_it_travels_with_the_crew() -> None:
    who = Agent(
        role="R",
        goal="G",
        backstory="B",
        knowledge_sources=[StringKnowledgeSource(content="own")],
        knowledge_config=KnowledgeConfig(results_limit=2),
    )
    crew = Crew(tasks=[Task(description="D", agent=who)], knowledge_sources=[StringKnowledgeSource(content="all's")])
    spec = crew.spec(EMBEDDED)
    assert (spec.knowledge, spec.agents[0].knowledge, spec.agents[0].knowledge_limit) == (("all's",), ("own",), 2)
    assert CrewSpec.from_json(spec.to_json(), "here") == spec


def test_an_agent_without_any_says_nothing_of_it() -> None:
    who = Agent(role="R", goal="G", backstory="B", knowledge_sources=None, knowledge_config=None)
    assert "knowledge" not in Crew(tasks=[Task(description="D", agent=who)]).spec(EMBEDDED).to_json()


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(errors.InvalidField, match=r"knowledge_sources.0"):
        Agent(role="R", goal="G", backstory="B", knowledge_sources=["facts.txt"])
    with pytest.raises(errors.UnsupportedField, match=r"KnowledgeConfig\(score_threshold=0.6\) is CrewAI's"):
        KnowledgeConfig(score_threshold=0.6)  # type: ignore[call-arg]
    with pytest.raises(errors.UnknownField, match="Did you mean 'content'"):
        StringKnowledgeSource(contnt="x")  # type: ignore[call-arg]
