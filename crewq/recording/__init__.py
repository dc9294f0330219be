"""Real answers of a model, recorded once into a file that is read, reviewed and committed, and replayed without network."""

from crewq.recording.model import RecordedModel

__all__ = ["RecordedModel"]
