"""Segments of a loop's decisions: the values of the fields that its fairness settings name. No torch."""

from collections.abc import Iterator, Mapping

from shared.domain import Decision
from shared.loop_settings import LoopSettings


def segments_of(decision: Decision, settings: LoopSettings) -> Iterator[str]:
    """As `<modality>.<field>=<value>`, of each field that the context has."""
    for name in settings.fairness.segments:
        field = settings.segment_field(name)
        assert field is not None
        value = segment_of(decision, *field)
        if value is not None:
            yield f"{name}={value}"


def segment_of(decision: Decision, modality: str, field: str) -> str | None:
    """The value of a tabular field as a segment's name; None where the context has none."""
    table = decision.context.get(modality)
    value = table.get(field) if isinstance(table, Mapping) else None
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
