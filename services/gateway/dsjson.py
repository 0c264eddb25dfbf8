"""Lines of a VW or Personalizer log (dsjson) as rows of an import; docs/evaluation.md tells what becomes of what.

Format: github.com/VowpalWabbit/vowpal_wabbit/wiki/DSJson. `a` ranks the candidates from 1 on, `p` has their
probabilities in that order, `_labelIndex` is the chosen one's place from 0 on, and a reward is a cost's negative.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from services.gateway.context import MAX_FIELDS
from services.gateway.problems import Problem, ProblemType
from shared.loop_settings import LoopSettings, ModalitySettings

# Where VW puts what has no namespace of its own: its fields keep their names.
NAMELESS: Final = frozenset({"FromUrl", "j"})
# A modality of this name takes what no other modality is named for.
REST: Final = "context"

Cell = float | str | bool


def row_of_event(settings: LoopSettings, event: object) -> dict[str, object]:
    """The members of an `ImportedRow`, not checked yet.

    Raises:
        Problem: the line is no decision that was drawn and shown; says why.
    """
    if not isinstance(event, dict) or not isinstance(event.get("EventId"), str):
        raise _refused("It has no `EventId`.", "EventId")
    context = event.get("c")
    if not isinstance(context, dict):
        raise _refused("A dangling observation: no decision stands with it.", "c")
    if event.get("_skipLearn") is True:
        raise _refused("Never shown, so nothing came of it.", "_skipLearn")
    multi, cost = context.get("_multi"), event.get("_label_cost")
    if not isinstance(multi, list) or not multi or not all(isinstance(one, dict) for one in multi):
        raise _refused("It has no candidates of one choice: slates and slots are not taken.", "c._multi")
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        raise _refused("It is a number: the reward's negative.", "_label_cost")
    actions = [_action(one, place) for place, one in enumerate(multi, 1)]
    ids = [action["id"] for action in actions]
    shares = _shares(event, len(ids))
    return {
        "decision_id": event["EventId"],
        "time": event.get("Timestamp"),
        "context": _context(settings, context),
        "actions": actions,
        "action_id": ids[_chosen(event, len(ids))],
        # A name that stands twice is told as such later.
        "probabilities": dict(zip(ids, shares, strict=True)),
        "reward": 0.0 - cost,
    }


def _refused(detail: str, field: str) -> Problem:
    return Problem(ProblemType.INVALID_FIELD, detail, field)


def _chosen(event: Mapping[str, object], count: int) -> int:
    index = event.get("_labelIndex")
    if type(index) is not int or not 0 <= index < count:
        raise _refused(f"It is the place of one of the {count} candidates, from 0 on.", "_labelIndex")
    return index


def _shares(event: Mapping[str, object], count: int) -> list[float]:
    """Probabilities in the order of the candidates."""
    ranking, shares = event.get("a"), event.get("p")
    if not isinstance(ranking, list) or sorted(map(str, ranking)) != sorted(str(place + 1) for place in range(count)):
        raise _refused(f"It ranks each of the {count} candidates once, from 1 on.", "a")
    if not isinstance(shares, list) or len(shares) != count or not all(type(one) in (int, float) for one in shares):
        raise _refused("It has a probability of each candidate, in the order of `a`.", "p")
    ordered = [0.0] * count
    for place, share in zip(ranking, shares, strict=True):
        ordered[int(place) - 1] = float(share)
    return ordered


def _action(one: Mapping[str, object], place: int) -> dict[str, object]:
    """By its tag, else its id, else its place; its features are the fields of its namespaces."""
    named = one.get("i")
    told = one.get("_tag"), named.get("id") if isinstance(named, dict) else None
    name = next((name for name in told if isinstance(name, str) and name), str(place))
    namespaces = {key: value for key, value in one.items() if key != "i"}
    features = dict(islice(_fields(namespaces), MAX_FIELDS))
    return {"id": name, "features": features} if features else {"id": name}


def _context(settings: LoopSettings, context: Mapping[str, object]) -> dict[str, object]:
    """Values by modality: a namespace fills the modality of its name, in small letters; the others' fields go together
    to the table named `context`, else to the loop's only table; what no modality takes is left out."""
    tables = [name for name, modality in settings.modalities.items() if modality.kind == "tabular"]
    rest = REST if REST in tables else tables[0] if len(tables) == 1 else None
    values: dict[str, object] = {}
    others: dict[str, object] = {}
    for namespace, value in context.items():
        modality = settings.modalities.get(namespace.lower())
        if namespace.startswith("_"):
            continue
        if modality is None:
            others[namespace] = value
        else:
            values[namespace.lower()] = _value(modality, value)
    if rest is not None and rest not in values:
        table = dict(islice(_fields(others), MAX_FIELDS))
        values |= {rest: table} if table else {}
    return values


def _value(modality: ModalitySettings, value: object) -> object:
    """A namespace as its modality takes it; what fits no kind stays, and is told with the kind that is asked for."""
    if modality.kind == "tabular":
        return dict(islice(_fields({"j": value}), MAX_FIELDS))
    while isinstance(value, list | dict):
        told = [one for name, one in value.items() if not name.startswith("_")] if isinstance(value, dict) else value
        if len(told) != 1:
            break
        (value,) = told
    return value


def _fields(value: object, path: str = "") -> Iterator[tuple[str, Cell]]:
    """Numbers, words and flags with the names that lead to them; VW passes over names with an underscore too."""
    if isinstance(value, bool | str):
        yield path or "value", value
    elif isinstance(value, int | float):
        yield path or "value", float(value)
    elif isinstance(value, dict):
        for name, one in value.items():
            if not name.startswith("_"):
                yield from _fields(one, path if not path and name in NAMELESS else f"{path}.{name}".lstrip("."))
    elif isinstance(value, Sequence):
        # A list of namespaces or tables is their union; of numbers, a vector.
        for place, one in enumerate(value):
            yield from _fields(one, path if isinstance(one, dict | list) else f"{path}.{place}".lstrip("."))
