"""Several pieces at once: for each topic, a post and a newsletter are written side by side, then edited as one.

python examples/parallel_content.py                                    a script plays the model
CREWQ_MODEL=openai/gpt-4.1-mini python examples/parallel_content.py    a real one, with its key in the environment
"""

import os

from crewq import Agent, Crew, Task
from crewq.testing import ScriptedModel

TOPICS = ["tide pools", "night trains", "sourdough"]

llm = os.environ.get("CREWQ_MODEL") or ScriptedModel(
    keyed=[
        {"match": "Find three angles", "answers": ["How it begins; what goes wrong; why people stay with it."]},
        {"match": "Write a blog post", "answers": ["It begins with patience. What goes wrong teaches you to look."]},
        {"match": "Write a newsletter", "answers": ["This week: begin, fail, look again."]},
        {
            "match": "Make them agree",
            "answers": ["Post: it begins with patience.\nNewsletter: this week, begin and look."],
        },
    ]
)

researcher = Agent(
    role="Researcher",
    goal="Find what is worth telling about {topic}",
    backstory="You look for angles that nobody has written about.",
    llm=llm,
)
writer = Agent(
    role="Writer",
    goal="Write about {topic} so that people read on",
    backstory="You write short sentences, and no word too many.",
    llm=llm,
)

angles = Task(
    name="angles",
    description="Find three angles on {topic}.",
    expected_output="Three angles, one sentence each.",
    agent=researcher,
)
post = Task(
    name="post",
    description="Write a blog post on {topic}.",
    expected_output="A post of 300 words.",
    agent=writer,
    async_execution=True,  # the newsletter does not wait for it; one agent may well do both at once
)
newsletter = Task(
    name="newsletter",
    description="Write a newsletter on {topic}.",
    expected_output="A newsletter of 100 words.",
    agent=writer,
    async_execution=True,
)
edition = Task(
    name="edition",
    description="Make them agree in tone and facts, and give back both.",
    expected_output="The post and the newsletter.",
    agent=writer,
    context=[post, newsletter],  # so it waits for both
)

crew = Crew(name="content", agents=[researcher, writer], tasks=[angles, post, newsletter, edition])

if __name__ == "__main__":
    outputs = crew.kickoff_for_each(inputs=[{"topic": topic} for topic in TOPICS])
    for topic, output in zip(TOPICS, outputs, strict=True):
        print(f"\n# {topic} ({output.token_usage.total_tokens} tokens)\n{output}")
