"""The SQL of joiner, relay and feeder: a few statements a batch and loop, inside the caller's transaction."""

from services.feedback.repository.feeding import VersionBehind, forget_unnamed, is_there, set_fed, versions_behind
from services.feedback.repository.joined import Joined, read_joined
from services.feedback.repository.publishing import count_unpublished, loops_behind, read_published, set_published
from services.feedback.repository.reading import SettingsCache, next_end, read_judged, read_known
from services.feedback.repository.restating import (
    Restatable,
    add_revisions,
    next_restatement,
    read_restatable,
    read_restatement,
    read_touched,
    set_restated,
)
from services.feedback.repository.writing import add_numbers, write

__all__ = [
    "Joined",
    "Restatable",
    "SettingsCache",
    "VersionBehind",
    "add_numbers",
    "add_revisions",
    "count_unpublished",
    "forget_unnamed",
    "is_there",
    "loops_behind",
    "next_end",
    "next_restatement",
    "read_joined",
    "read_judged",
    "read_known",
    "read_published",
    "read_restatable",
    "read_restatement",
    "read_touched",
    "set_fed",
    "set_published",
    "set_restated",
    "versions_behind",
    "write",
]
