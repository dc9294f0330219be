"""What a worker container runs. It imports crewq, and nothing imports it."""
