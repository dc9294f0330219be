"""Runs that stand on their own: plans for several trips are made at once; then one traveller stays longer, and only
what depends on that is done again.

    python examples/travel_plans.py                                    a script plays the model
    CREWQ_MODEL=openai/gpt-4.1-mini python examples/travel_plans.py    a real one, with its key in the environment
"""

import asyncio
import os

from crewq import Agent, Crew, Task
from crewq.testing import ScriptedModel

TRIPS = [{"city": "Lisbon", "days": 2}, {"city": "Tallinn", "days": 4}]

llm = os.environ.get("CREWQ_MODEL") or ScriptedModel(
    keyed=[
        {"match": "best seen in Lisbon", "answers": ["Alfama, Belém, the river at dusk, Sintra by train."]},
        {"match": "best seen in Tallinn", "answers": ["The old town, Kadriorg, the harbour of the seaplanes."]},
        {"match": "Plan 2 days in Lisbon", "answers": ["Day 1: Alfama, then the river.\nDay 2: Belém."]},
        {"match": "Plan 3 days in Lisbon", "answers": ["Day 1: Alfama.\nDay 2: Belém, the river.\nDay 3: Sintra."]},
        {
            "match": "Plan 4 days in Tallinn",
            "answers": ["Days 1 and 2: the old town.\nDays 3 and 4: Kadriorg, the seaplanes."],
        },
    ]
)

guide = Agent(
    role="Guide to {city}",
    goal="Know what is worth seeing, and what is not",
    backstory="You have lived in {city} for years, and show friends around.",
    llm=llm,
)
planner = Agent(
    role="Planner",
    goal="Fit a trip into its days without haste",
    backstory="You plan one thing for each morning, and one for each evening.",
    llm=llm,
)

sights = Task(
    name="sights",
    description="List what is best seen in {city}.",
    expected_output="Five places at most.",
    agent=guide,
)
plan = Task(
    name="plan",
    description="Plan {days} days in {city}.",
    expected_output="A line for each day.",
    agent=planner,
)

crew = Crew(name="travel", agents=[guide, planner], tasks=[sights, plan])


async def main() -> None:
    runs = [crew.kickoff_async(inputs=trip) for trip in TRIPS]  # all under way now
    for trip, run in zip(TRIPS, runs, strict=True):
        print(f"\n# {trip['days']} days in {trip['city']}\n{await run}")

    lisbon = runs[0]
    longer = await crew.replay_async(lisbon.task_ids[1], inputs={"city": "Lisbon", "days": 3})
    print(f"\n# 3 days in Lisbon: {longer.token_usage.successful_requests} model call, the sights were known\n{longer}")


if __name__ == "__main__":
    asyncio.run(main())
