"""A help desk in YAML: a letter is read into a form, and answered with what the order's record says.

cd examples
crewq run yaml_project.crew:HelpDesk --input letter="Where is my order 1042?"    a script plays the model

With CREWQ_MODEL=openai/gpt-4.1-mini and its key in the environment, or in a file `.env` there, a real one does.
"""

import os
from typing import Any

from pydantic import BaseModel

from crewq import Agent, BaseLLM, BaseTool, Crew, Task
from crewq.project import CrewBase, agent, before_kickoff, crew, llm, output_pydantic, task, tool
from crewq.testing import ScriptedModel, call
from yaml_project import tools

SCRIPT = ScriptedModel(
    keyed=[
        {"match": "Read this letter", "answers": ['{"order": 1042, "wish": "to know where it is"}']},
        {
            "match": "Answer the letter",
            "answers": [call("order_record", order=1042), "Your order 1042 left us on Monday. It arrives on Thursday."],
        },
    ]
)


@CrewBase
class HelpDesk:
    agents: list[Agent]
    tasks: list[Task]

    @output_pydantic
    class Form(BaseModel):
        order: int
        wish: str

    @before_kickoff
    def tidy(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {**inputs, "letter": " ".join(inputs["letter"].split())}

    @llm
    def model(self) -> str | BaseLLM:
        return os.environ.get("CREWQ_MODEL") or SCRIPT

    @tool
    def order_record(self) -> BaseTool:
        return tools.order_record

    @agent
    def reader(self) -> Agent:
        return Agent(config=self.agents_config["reader"])

    @agent
    def clerk(self) -> Agent:
        return Agent(config=self.agents_config["clerk"])

    @task
    def read(self) -> Task:
        return Task(config=self.tasks_config["read"])

    @task
    def answer(self) -> Task:
        return Task(config=self.tasks_config["answer"])

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
