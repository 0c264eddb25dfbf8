"""The SQL of joiner, relay and feeder: a few statements a batch and loop, inside the caller's transaction."""

from services.feedback.repository.feeding import VersionBehind, set_fed, versions_behind
from services.feedback.repository.joined import Joined, read_joined
from services.feedback.repository.publishing import loops_behind, read_published, set_published
from services.feedback.repository.reading import SettingsCache, next_end, read_judged, read_known
from services.feedback.repository.writing import write

__all__ = [
    "Joined",
    "SettingsCache",
    "VersionBehind",
    "loops_behind",
    "next_end",
    "read_joined",
    "read_judged",
    "read_known",
    "read_published",
    "set_fed",
    "set_published",
    "versions_behind",
    "write",
]
