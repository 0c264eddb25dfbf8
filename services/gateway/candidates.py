"""Which actions a decision chooses from."""

from collections.abc import Sequence

from services.gateway.directory import ServedLoop
from services.gateway.problems import Problem, ProblemType
from services.gateway.requests import SentDecision
from shared.domain import Action


def candidates_of(served: ServedLoop, request: SentDecision) -> tuple[Sequence[Action], list[int], int | None]:
    """The candidates, the positions of those that are excluded, and the baseline's position.

    Raises:
        Problem: there are none, two have one id, all are excluded, or an id is none of theirs.
    """
    actions = actions_of(served, request.actions)
    positions = {action.id: position for position, action in enumerate(actions)}
    excluded = sorted(
        {
            position_of(positions, action_id, f"excluded_action_ids.{index}")
            for index, action_id in enumerate(request.excluded_action_ids)
        }
    )
    if len(excluded) == len(actions):
        raise Problem(ProblemType.EVERY_ACTION_EXCLUDED, "Leave at least one.", "excluded_action_ids")
    baseline = request.baseline_action_id
    return actions, excluded, None if baseline is None else position_of(positions, baseline, "baseline_action_id")


def actions_of(served: ServedLoop, sent: Sequence[Action] | None) -> Sequence[Action]:
    """What a request sent as its candidates, else what the loop lists.

    Raises:
        Problem: there are none, or two have one id.
    """
    if sent is None:
        if not served.actions:
            raise Problem(ProblemType.NO_ACTIONS, "The loop lists none, so each decision brings its own.", "actions")
        return served.actions
    if not sent:
        raise Problem(ProblemType.NO_ACTIONS, "Send at least one, or leave `actions` out.", "actions")
    seen: set[str] = set()
    for index, action in enumerate(sent):
        if action.id in seen:
            raise Problem(ProblemType.DUPLICATE_ACTION, f"{action.id!r} stands here again.", f"actions.{index}.id")
        seen.add(action.id)
    return sent


def position_of(positions: dict[str, int], action_id: str, field: str) -> int:
    """Where a candidate stands.

    Raises:
        Problem: it is none; names the field.
    """
    position = positions.get(action_id)
    if position is None:
        raise Problem(ProblemType.UNKNOWN_ACTION, f"{action_id!r} is none of the candidates.", field)
    return position
