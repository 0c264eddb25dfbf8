"""The SQL of joiner, relay and feeder: a few statements a batch and loop, inside the caller's transaction."""

from services.feedback.repository.feeding import VersionBehind, read_joined, set_fed, versions_behind
from services.feedback.repository.reading import SettingsCache, next_end, read_known
from services.feedback.repository.unpublished import loops_behind, read_unpublished, set_published
from services.feedback.repository.writing import write

__all__ = [
    "SettingsCache",
    "VersionBehind",
    "loops_behind",
    "next_end",
    "read_joined",
    "read_known",
    "read_unpublished",
    "set_fed",
    "set_published",
    "versions_behind",
    "write",
]
