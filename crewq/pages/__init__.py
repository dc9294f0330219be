"""crewq's own pages inside Flower: runs with their timelines, batches, comparisons; and the buttons that change them.

They use what any client uses: the handles of runs and batches, and the store.
"""

__all__: list[str] = []
