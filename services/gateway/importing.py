"""Experiences of another system: lines of JSON, each checked by itself and logged in chunks, never all in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final, Literal
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from sqlalchemy import Engine

from services.gateway.appending import Appender
from services.gateway.bodies import ImportedRow
from services.gateway.candidates import actions_of, position_of
from services.gateway.context import MediaTypes, context_of, media_ids
from services.gateway.directory import ServedLoop
from services.gateway.dsjson import row_of_event
from services.gateway.feedback import FURTHEST_AHEAD, feedback_of
from services.gateway.idempotency import request_sha256
from services.gateway.parsing import BODY_BYTES, parse_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit, read_known_ids
from services.gateway.storage import Storage
from shared.db.engine import read_session, write_session
from shared.domain import Action, Clock, Decision, Doubles, Feedback, ImportedExperience
from shared.evaluation.settings import SUM_TOLERANCE
from shared.eventlog import MAX_RECORD_BYTES, Record
from shared.events import DECISIONS, imported_record
from shared.loop_settings import Loop
from shared.security import ApiKey

CHUNK_LINES: Final = 500
CHUNK_BYTES: Final = 4 * 1024 * 1024
LINE_BYTES: Final = BODY_BYTES
# Lines whose reasons are told; the others are counted.
MOST_REASONS: Final = 1000

# Rows of our own, or events of VW and Personalizer.
LineFormat = Literal["rows", "dsjson"]

# A line's number, from 1, and its bytes: None where it is too long.
Line = tuple[int, bytes | None]


@dataclass(slots=True)
class Report:
    """What became of the lines so far; `seen` holds the hashes of their ids."""

    accepted: int = 0
    duplicates: int = 0
    skipped_total: int = 0
    skipped: list[dict[str, object]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def skip(self, line: int, problem: Problem) -> None:
        self.skipped_total += 1
        if len(self.skipped) < MOST_REASONS:
            at = "" if problem.field is None else f"{problem.field}: "
            self.skipped.append({"line": line, "reason": f"{at}{problem.kind.title}. {problem.detail}"})

    def body(self) -> dict[str, object]:
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "skipped": sorted(self.skipped, key=itemgetter("line")),
            "skipped_total": self.skipped_total,
        }


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A line that is a row, with the SHA-256 of its members."""

    line: int
    row: ImportedRow
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Importer:
    """Takes rows in. Threads do the work, so that decisions go on beside it."""

    engine: Engine
    appender: Appender
    storage: Storage
    clock: Clock

    async def take(
        self, caller: ApiKey, served: ServedLoop, body: AsyncIterator[bytes], line_format: LineFormat = "rows"
    ) -> Report:
        """Logs every row that is valid and new; all that the report calls accepted is durable.

        Raises:
            EventLogError: rows before this chunk are durable; sending all of them again does no harm.
        """
        report = Report()
        async for lines in chunks_of(lines_of(body)):
            await self._take(served, lines, report, line_format)
        await asyncio.to_thread(self._audit, caller, served.loop)
        return report

    async def _take(self, served: ServedLoop, lines: Sequence[Line], report: Report, line_format: LineFormat) -> None:
        parsed = await asyncio.to_thread(self._parse, served.loop, lines, report, line_format)
        media = (media_id for one in parsed for media_id in media_ids(one.row.context))
        types = await self.storage.media_types(served.loop.tenant, media)
        built = await asyncio.to_thread(self._build, served, parsed, types, report)
        stored = [(line, await self._stored(imported)) for line, imported in built]
        records = await asyncio.to_thread(_records, stored, report)
        if records:
            await self.appender.append(DECISIONS, records)
        report.accepted += len(records)

    def _parse(self, loop: Loop, lines: Sequence[Line], report: Report, line_format: LineFormat) -> list[ParsedRow]:
        """The rows that are new, as far as the joiner has read the log."""
        parsed: dict[str, ParsedRow] = {}
        for number, text in lines:
            try:
                one = _parsed(loop, number, text, line_format)
            except Problem as problem:
                report.skip(number, problem)
                continue
            key = hash(one.row.decision_id)
            if key in report.seen:
                report.duplicates += 1
            else:
                report.seen.add(key)
                parsed[one.row.decision_id] = one
        with read_session(self.engine) as session:
            known = read_known_ids(session, loop.tenant, loop.loop_id, list(parsed))
        report.duplicates += len(known)
        return [one for decision_id, one in parsed.items() if decision_id not in known]

    def _build(
        self, served: ServedLoop, parsed: Sequence[ParsedRow], types: MediaTypes, report: Report
    ) -> list[tuple[int, ImportedExperience]]:
        now = self.clock()
        built = []
        for one in parsed:
            try:
                built.append((one.line, imported_of(served, one, types, now)))
            except Problem as problem:
                report.skip(one.line, problem)
        return built

    async def _stored(self, imported: ImportedExperience) -> ImportedExperience:
        """As it is logged: what is large is durable first."""
        decision = imported.decision
        logged = await self.storage.as_logged(decision.context)
        return imported if logged is decision.context else replace(imported, decision=replace(decision, context=logged))

    def _audit(self, caller: ApiKey, loop: Loop) -> None:
        with write_session(self.engine) as session:
            of = f"loops/{loop.loop_id}/experiences"
            add_audit(session, caller.tenant, caller.key_id, "import", of, self.clock())


def _records(imported: Sequence[tuple[int, ImportedExperience]], report: Report) -> list[Record]:
    """One a row; a row that is too large for the log is told."""
    records: list[Record] = []
    for line, one in imported:
        record = imported_record(one)
        if record.size > MAX_RECORD_BYTES:
            report.skip(line, Problem(ProblemType.EVENT_TOO_LARGE, "An event holds at most 2 MiB."))
        else:
            records.append(record)
    return records


def imported_of(served: ServedLoop, parsed: ParsedRow, media_types: MediaTypes, now: int) -> ImportedExperience:
    """The experience of a row; without a time it is of now.

    Raises:
        Problem: names the field at fault.
    """
    loop, row = served.loop, parsed.row
    decided_at = now if row.time is None else row.time
    if not 0 < decided_at <= now + FURTHEST_AHEAD:
        raise Problem(ProblemType.INVALID_FIELD, "It lies before 1970, or more than a day ahead.", "time")
    sent = None if row.actions is None else [Action(action.id, action.features) for action in row.actions]
    actions = actions_of(served, sent)
    taken = position_of({action.id: place for place, action in enumerate(actions)}, row.action_id, "action_id")
    probabilities = _probabilities(row, taken, [action.id for action in actions])
    decision = Decision(
        tenant=loop.tenant,
        loop_id=loop.loop_id,
        decision_id=row.decision_id,
        decided_at=decided_at,
        context=(context := context_of(loop.settings.modalities, row.context, media_types)),
        actions=actions,
        action_id=row.action_id,
        probability=float(probabilities[taken]),
        probabilities=probabilities,
        seed=0,
        settings_revision=loop.settings_revision,
        request_sha256=parsed.sha256,
        modalities_used=sorted(context),
        modalities_missing=[name for name in loop.settings.modalities if name not in context],
        episode_id=row.episode_id,
        previous_decision_id=row.previous_decision_id,
    )
    return ImportedExperience(decision, _feedback(loop, row, decided_at, now), row.reward, row.end)


async def lines_of(body: AsyncIterator[bytes]) -> AsyncIterator[Line]:
    """Lines that are not blank, with their numbers; of one that is too long nothing is kept."""
    number, rest, is_too_long = 0, b"", False
    async for part in body:
        *whole, rest = (rest + part).split(b"\n")
        for text in whole:
            number += 1
            if is_too_long or len(text) > LINE_BYTES:
                yield number, None
            elif text.strip():
                yield number, text
            is_too_long = False
        if len(rest) > LINE_BYTES:
            rest, is_too_long = b"", True
    if is_too_long or rest.strip():
        yield number + 1, None if is_too_long else rest


async def chunks_of(lines: AsyncIterator[Line]) -> AsyncIterator[Sequence[Line]]:
    """The lines in order, as many at a time as one append should hold."""
    chunk: list[Line] = []
    size = 0
    async for line in lines:
        chunk.append(line)
        size += len(line[1] or b"")
        if len(chunk) >= CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _parsed(loop: Loop, number: int, text: bytes | None, line_format: LineFormat) -> ParsedRow:
    if text is None:
        raise Problem(ProblemType.BODY_TOO_LARGE, f"A line has at most {LINE_BYTES // 2**20} MiB.")
    value = parse_json(text)
    if line_format == "dsjson":
        value = row_of_event(loop.settings, value)
    row = validated(ImportedRow, value)
    return ParsedRow(number, row, request_sha256(value))


def _probabilities(row: ImportedRow, taken: int, ids: Sequence[str]) -> Doubles:
    """Of each candidate. Where the row tells of the taken one alone, the others are taken to have shared the rest
    evenly; all are 0 where it tells of none."""
    if row.probabilities is not None:
        return _told_probabilities(row.probabilities, ids[taken], ids)
    if row.probability is None:
        return np.zeros(len(ids))
    others = (1.0 - row.probability) / max(1, len(ids) - 1)
    probabilities = np.full(len(ids), others)
    probabilities[taken] = row.probability
    return probabilities


def _told_probabilities(told: Mapping[str, float], taken: str, ids: Sequence[str]) -> Doubles:
    for action_id in ids:
        if action_id not in told:
            raise Problem(ProblemType.INVALID_FIELD, f"It lacks {action_id!r}, a candidate.", "probabilities")
    for action_id in told:
        position_of(dict.fromkeys(ids, 0), action_id, "probabilities")
    if abs(sum(told.values()) - 1.0) > SUM_TOLERANCE:
        detail = f"They sum to {sum(told.values()):.6g}, not to one."
        raise Problem(ProblemType.INVALID_FIELD, detail, "probabilities")
    if told[taken] == 0.0:
        detail = f"That of {taken!r} is 0, and it was chosen all the same."
        raise Problem(ProblemType.INVALID_FIELD, detail, "probabilities")
    return np.array([told[action_id] for action_id in ids])


def _feedback(loop: Loop, row: ImportedRow, decided_at: int, now: int) -> list[Feedback]:
    """In the order of the row, a microsecond apart; ids that the row leaves out are the same in every repeat."""
    if not row.feedback:
        return []
    named = [
        {"feedback_id": str(uuid5(NAMESPACE_OID, f"{row.decision_id}/{index}"))}
        | event
        | {"decision_id": row.decision_id}
        for index, event in enumerate(row.feedback)
    ]
    try:
        events = feedback_of(loop, named, now)
    except Problem as problem:
        at = "feedback" if problem.field is None else f"feedback.{problem.field}"
        raise Problem(problem.kind, problem.detail, at) from None
    return [replace(event, received_at=decided_at + index) for index, event in enumerate(events)]
