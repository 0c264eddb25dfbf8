"""The joiner's SQL: a few statements a batch and loop, inside the caller's transaction."""

from services.feedback.repository.reading import SettingsCache, next_end, read_known
from services.feedback.repository.unpublished import loops_behind, read_unpublished, set_published
from services.feedback.repository.writing import write

__all__ = ["SettingsCache", "loops_behind", "next_end", "read_known", "read_unpublished", "set_published", "write"]
