"""Decisions as products send them, read from their bytes at once; what is wrong with one, its documented body tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from services.gateway.bodies import ID, MAX_BATCH, DecisionBatch, DecisionRequest
from services.gateway.formats import JSON, MESSAGEPACK, Format
from services.gateway.parsing import parse_json, validated
from services.gateway.remembering import Remembered
from shared.domain import Action
from shared.loop_settings import MAX_ACTIONS
from shared.wire import logged_action

# Memory for actions that were read before.
ACTIONS_BYTES: Final = 32 * 1024 * 1024
# What one takes besides its bytes, about.
ENTRY_BYTES: Final = 1024

Id = Annotated[str, Meta(pattern=rf"^{ID.pattern}\Z")]
ActionId = Annotated[str, Meta(min_length=1, max_length=256)]
# An embedding; a text; media or a table.
Value = list[float] | str | dict[str, float | str | bool | None] | None
Features = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=256)], bool | float | Annotated[str, Meta(max_length=4096)]],
    Meta(max_length=256),
]


@dataclass(frozen=True, slots=True)
class SentDecision:
    """What to decide on, as bodies.DecisionRequest documents it."""

    decision_id: str | None
    context: Mapping[str, object]
    actions: Sequence[Action] | None
    excluded_action_ids: Sequence[str]
    baseline_action_id: str | None
    episode_id: str | None
    previous_decision_id: str | None
    subject_id: str | None
    deferred: bool
    explain: bool


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """Its members; those that were not sent are UNSET."""

    decision_id: Id | UnsetType | None = UNSET
    context: dict[str, Value] | UnsetType = UNSET
    actions: Annotated[list[Raw], Meta(max_length=MAX_ACTIONS)] | UnsetType | None = UNSET
    excluded_action_ids: Annotated[list[ActionId], Meta(max_length=MAX_ACTIONS)] | UnsetType = UNSET
    baseline_action_id: ActionId | UnsetType | None = UNSET
    episode_id: Id | UnsetType | None = UNSET
    previous_decision_id: Id | UnsetType | None = UNSET
    subject_id: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType | None = UNSET
    deferred: bool | UnsetType = UNSET
    explain: bool | UnsetType = UNSET


class _PackedBody(_Body, forbid_unknown_fields=True):
    """Whose media and embeddings may be bytes; what reads them looks at their members."""

    context: dict[str, list[float] | str | dict[str, Any] | None] | UnsetType = UNSET


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    decisions: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_BATCH)]


class _SentAction(msgspec.Struct, forbid_unknown_fields=True):
    id: ActionId
    features: Features | UnsetType | None = UNSET


class RequestReader:
    """Reads requests in one format; an action that came before, byte for byte, is not read again."""

    def __init__(self, form: Format = JSON, budget: int = ACTIONS_BYTES) -> None:
        self._form = form
        self._body = form.decoder(_Body if form is JSON else _PackedBody)
        self._action = form.decoder(_SentAction)
        self._batch = form.decoder(_Batch)
        # With the colons that stand in it.
        self._actions = Remembered[bytes, tuple[Action, int]](budget)

    def read(self, raw: bytes) -> SentDecision:
        """The request in a body.

        Raises:
            Problem: it is not valid; names the field at fault.
        """
        try:
            body: _Body = self._body.decode(raw)
            read = [self._read_action(bytes(action)) for action in body.actions or ()]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return checked(self._form.parse(raw))
        if body.previous_decision_id and not body.episode_id:
            return checked(self._form.parse(raw))
        if self._form is JSON and raw.count(b":") > _members(body) + sum(colons for _, colons in read):
            # A colon in a text, or a key that stands twice, which this refuses.
            parse_json(raw)
        return SentDecision(
            decision_id=body.decision_id or None,
            context=body.context or {},
            actions=[action for action, _ in read] if isinstance(body.actions, list) else None,
            excluded_action_ids=body.excluded_action_ids or (),
            baseline_action_id=body.baseline_action_id or None,
            episode_id=body.episode_id or None,
            previous_decision_id=body.previous_decision_id or None,
            subject_id=body.subject_id or None,
            deferred=body.deferred is True,
            explain=body.explain is True,
        )

    def rows_of(self, raw: bytes) -> list[bytes]:
        """The requests in the body of a batch, none of them read yet.

        Raises:
            Problem: it is none, as bodies.DecisionBatch documents it.
        """
        try:
            rows = [bytes(row) for row in self._batch.decode(raw).decisions]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            batch = validated(DecisionBatch, self._form.parse(raw))
            return [self._form.write(row) for row in batch.decisions]
        if self._form is JSON and raw.count(b":") > 1 + sum(row.count(b":") for row in rows):
            parse_json(raw)
        return rows

    def _read_action(self, raw: bytes) -> tuple[Action, int]:
        known = self._actions.get(raw)
        if known is None:
            sent: _SentAction = self._action.decode(raw)
            colons = raw.count(b":")
            if self._form is MESSAGEPACK:
                _hold_finite(sent)
            elif colons > 1 + (sent.features is not UNSET) + len(sent.features or ()):
                parse_json(raw)
            action = Action(sent.id, None if sent.features is UNSET else sent.features)
            known = replace(action, logged=logged_action(action)), colons
            self._actions.put(raw, known, ENTRY_BYTES + 2 * len(raw))
        return known


def _hold_finite(action: _SentAction) -> None:
    if not all(isfinite(value) for value in (action.features or {}).values() if isinstance(value, float)):
        raise msgspec.ValidationError("a feature is not finite")


def _members(body: _Body) -> int:
    """Members of the body, of its context and of what stands there: each has a colon of its own."""
    context = body.context or {}
    inner = sum(len(value) for value in context.values() if isinstance(value, dict))
    return sum(member is not UNSET for member in msgspec.structs.astuple(body)) + len(context) + inner


def checked(value: object) -> SentDecision:
    """A request in a value that says what is wrong with it, if anything is.

    Raises:
        Problem: as above.
    """
    request = validated(DecisionRequest, value)
    actions = None if request.actions is None else [Action(one.id, one.features) for one in request.actions]
    return SentDecision(
        decision_id=request.decision_id,
        context=request.context,
        actions=actions,
        excluded_action_ids=request.excluded_action_ids,
        baseline_action_id=request.baseline_action_id,
        episode_id=request.episode_id,
        previous_decision_id=request.previous_decision_id,
        subject_id=request.subject_id,
        deferred=request.deferred,
        explain=request.explain,
    )
