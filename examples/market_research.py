"""Several crews at the same time: one analyst per market, awaited together, each with a tool and a typed answer.

python examples/market_research.py                                    a script plays the model
CREWQ_MODEL=openai/gpt-4.1-mini python examples/market_research.py    a real one, with its key in the environment
"""

import asyncio
import os

from pydantic import BaseModel, Field

from crewq import Agent, Crew, Task, tool
from crewq.testing import ScriptedModel, call

SALES = {"e-bikes": [410, 530, 720], "kayaks": [95, 90, 81], "tents": [230, 240, 236]}  # units of three years
MODEL = os.environ.get("CREWQ_MODEL")


class Finding(BaseModel):
    market: str
    growth: float = Field(description="Percent from the first year to the last.")
    verdict: str


# In a script of its own, as here, a tool works embedded; for a fleet, put it in a module and name that in CREWQ_IMPORTS.
@tool
def yearly_sales(market: str) -> str:
    """The units that were sold in a market, year by year."""
    return ", ".join(map(str, SALES[market]))


def scripted(market: str, growth: float, verdict: str) -> ScriptedModel:
    finding = Finding(market=market, growth=growth, verdict=verdict)
    return ScriptedModel(answers=[call("yearly_sales", market=market), finding.model_dump_json()])


def research_crew(market: str, llm: str | ScriptedModel) -> Crew:
    analyst = Agent(
        role="Market analyst",
        goal="Tell which markets are worth entering",
        backstory="You judge by numbers, and look them up rather than guess.",
        tools=[yearly_sales],
        llm=llm,
    )
    assess = Task(
        name="assess",
        description=f"How did the market for {market} grow, and is it worth entering by {{year}}?",
        expected_output="Growth in percent, and a verdict of one sentence.",
        agent=analyst,
        output_pydantic=Finding,
    )
    return Crew(name=f"{market} research", agents=[analyst], tasks=[assess])


CREWS = [
    research_crew("e-bikes", MODEL or scripted("e-bikes", 75.6, "Enter, and soon.")),
    research_crew("kayaks", MODEL or scripted("kayaks", -14.7, "Stay away.")),
    research_crew("tents", MODEL or scripted("tents", 2.6, "Wait for a reason to enter.")),
]


async def main() -> None:
    outputs = await asyncio.gather(*(crew.kickoff_async(inputs={"year": 2030}) for crew in CREWS))
    findings = [output.pydantic for output in outputs]
    for finding in sorted(findings, key=lambda finding: finding.growth, reverse=True):
        print(f"{finding.market:8} {finding.growth:+6.1f} %  {finding.verdict}")


if __name__ == "__main__":
    asyncio.run(main())
