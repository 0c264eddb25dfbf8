"""The joiner against a model in memory: events in any order, twice, late or never, crashes, and clocks that leap."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from services.feedback.timing import WindowTime
from shared.db.engine import read_session
from shared.db.offsets import read_offsets
from shared.db.tables import DanglingActivationRow, DanglingFeedbackRow, DecisionRow, ExperienceRow, FeedbackRow
from shared.domain import Activation, Decision, Experience, Feedback
from shared.eventlog import Record
from shared.events import (
    DECISIONS,
    EXPERIENCES,
    FEEDBACK,
    activation_record,
    decision_record,
    event_from_record,
    feedback_record,
)
from shared.wire import WireError
from tests.unit.services.feedback.conftest import GRACE, LOOP, SECOND, WAIT, Bench, FakeLog, decision

HOUR = 3600 * SECOND
AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "earliest": lambda values: values[0],
    "sum": math.fsum,
    "average": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
}


@dataclass
class Model:
    """The rules over plain dictionaries; a batch is applied whole or, by keeping a copy, not at all."""

    metrics: dict[str, float]
    aggregation: str
    closes_early: bool
    late_counts: bool
    batch: int
    offsets: Counter[str] = field(default_factory=Counter)
    decisions: dict[str, Decision] = field(default_factory=dict)
    activations: dict[str, Activation] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, tuple[Feedback, bool]] = field(default_factory=dict)
    dangling: dict[str, Feedback] = field(default_factory=dict)
    experiences: list[tuple[Any, ...]] = field(default_factory=list)
    # Decision → the place of its newest revision.
    newest: dict[str, int] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def step(self, log: FakeLog, time: WindowTime) -> None:
        now = time.now()
        for topic in (DECISIONS, FEEDBACK):
            records = log.records[topic][self.offsets[topic] :][: self.batch]
            self.offsets[topic] += len(records)
            for record in records:
                self.apply(record, time)
        if all(self.offsets[topic] == len(log.records[topic]) for topic in (DECISIONS, FEEDBACK)):
            due = sorted((end, key) for key, end in self.ends.items() if end < now - GRACE)
            for end, key in due:
                self.close(key, end, "timeout")
        for key in sorted(self.touched, key=self.newest.__getitem__):
            self.restate(key)
        self.touched.clear()

    def apply(self, record: Record, time: WindowTime) -> None:
        try:
            event = event_from_record(record)
        except WireError:
            return
        match event:
            case Decision():
                time.witness(event.decided_at)
                self.decide(event)
            case Activation():
                time.witness(event.activated_at)
                self.activate(event)
            case Feedback():
                time.witness(event.received_at)
                self.receive(event)

    def decide(self, made: Decision) -> None:
        key = made.decision_id
        if key in self.decisions:
            same = self.decisions[key].request_sha256 == made.request_sha256
            self.counts["duplicate_decisions" if same else "conflicting_decisions"] += 1
            return
        self.decisions[key] = made
        early = self.activations.pop(key, None)
        if not made.deferred:
            self.ends[key] = made.decided_at + WAIT
        if early is not None:
            self.activate(early)
        mine = [one for one in self.dangling.values() if one.decision_id == key]
        for one in sorted(mine, key=lambda one: (one.received_at, one.feedback_id)):
            del self.dangling[one.feedback_id]
            self.receive(one)

    def activate(self, activation: Activation) -> None:
        key = activation.decision_id
        made = self.decisions.get(key)
        if key in self.activations or (made is not None and not made.deferred):
            self.counts["duplicate_activations"] += 1
            return
        self.activations[key] = activation
        if made is not None:
            self.ends[key] = activation.activated_at + WAIT
            for feedback_id, (one, _) in self.feedback.items():
                if one.decision_id == key:
                    self.feedback[feedback_id] = (one, one.received_at > self.ends[key])
            self.close_if_complete(key)

    def receive(self, came: Feedback) -> None:
        key = came.decision_id
        if came.feedback_id in self.feedback or came.feedback_id in self.dangling:
            self.counts["duplicate_feedback"] += 1
        elif key not in self.decisions:
            self.dangling[came.feedback_id] = came
        else:
            waits = self.decisions[key].deferred and key not in self.activations
            late = not waits and (key not in self.ends or came.received_at > self.ends[key])
            self.feedback[came.feedback_id] = (came, late)
            if not late:
                self.close_if_complete(key)
            elif key in self.newest and (self.late_counts or came.received_at <= self.start(key) + WAIT):
                self.touched.add(key)

    def in_time(self, key: str) -> list[Feedback]:
        mine = [one for one, late in self.feedback.values() if one.decision_id == key and not late]
        return sorted(mine, key=lambda one: (one.received_at, one.feedback_id))

    def close_if_complete(self, key: str) -> None:
        came = self.in_time(key)
        if self.closes_early and key in self.ends and set(self.metrics) <= {one.metric for one in counted(came)}:
            self.close(key, max(self.start(key), came[-1].received_at), "feedback")

    def start(self, key: str) -> int:
        activation = self.activations.get(key)
        return self.decisions[key].decided_at if activation is None else activation.activated_at

    def close(self, key: str, closed_at: int, closed_by: str) -> None:
        del self.ends[key]
        made, activation = self.decisions[key], self.activations.get(key)
        served = made.action_id if activation is None else activation.served_action_id or made.action_id
        propensity = made.probability if served == made.action_id else None
        reward = self.reward(self.in_time(key))
        self.append((key, served, propensity, reward, closed_at, closed_by))

    def restate(self, key: str) -> None:
        """What came since the close counts where it was taken in the window, or where late feedback counts."""
        _, _, served, propensity, reward, closed_at, closed_by = self.experiences[self.newest[key]]
        mine = [one for one, _ in self.feedback.values() if one.decision_id == key]
        for one in mine:
            if closed_by == "timeout" and one.received_at <= closed_at:
                self.feedback[one.feedback_id] = (one, False)
        came = sorted(mine, key=lambda one: (one.received_at, one.feedback_id))
        restated = self.reward(came if self.late_counts else self.in_time(key))
        if restated != reward:
            self.append((key, served, propensity, restated, closed_at, closed_by))
            self.counts["restated"] += 1

    def append(self, experience: tuple[Any, ...]) -> None:
        self.newest[experience[0]] = len(self.experiences)
        self.experiences.append((len(self.experiences) + 1, *experience))

    def reward(self, came: list[Feedback]) -> float:
        counting = [one for one in counted(came) if one.metric in self.metrics]
        reward = 0.0 if counting else -1.0
        for metric, weight in self.metrics.items():
            values = [float(one.value) for one in counting if one.metric == metric]
            reward += weight * AGGREGATIONS[self.aggregation](values) if values else 0.0
        return round(reward, 9)

    def view(self) -> dict[str, Any]:
        counts = self.counts + Counter(
            decisions=len(self.decisions),
            feedback=len(self.feedback),
            late_feedback=sum(late for _, late in self.feedback.values()),
            dangling_feedback=len(self.dangling),
        )
        return {
            "offsets": {topic: {0: self.offsets[topic]} for topic in (DECISIONS, FEEDBACK)},
            "decisions": {key: (made.request_sha256, self.ends.get(key)) for key, made in self.decisions.items()},
            "feedback": {key: (one.decision_id, one.value, late) for key, (one, late) in self.feedback.items()},
            "dangling": set(self.dangling),
            "activations": set(self.activations) - set(self.decisions),
            "experiences": self.experiences,
            "counts": dict(counts),
        }


def counted(feedback: list[Feedback]) -> list[Feedback]:
    """These loops' metrics have no scorer: they take numbers only."""
    return [one for one in feedback if not isinstance(one.value, str)]


def tables(bench: Bench) -> dict[str, Any]:
    """What the joiner has committed, as Model.view says it."""
    of = ExperienceRow
    counts = bench.counts()
    with read_session(bench.engine) as session:
        experiences = session.scalars(select(of).order_by(of.sequence)).all()
        return {
            "offsets": read_offsets(session),
            "decisions": {
                row.decision_id: (row.request_sha256, row.closes_at) for row in session.scalars(select(DecisionRow))
            },
            "feedback": {
                row.feedback_id: (row.decision_id, row.text if row.number is None else row.number, row.late)
                for row in session.scalars(select(FeedbackRow))
            },
            "dangling": set(session.scalars(select(DanglingFeedbackRow.feedback_id))),
            "activations": set(session.scalars(select(DanglingActivationRow.decision_id))),
            "experiences": [
                (
                    row.sequence,
                    row.decision_id,
                    row.action_id,
                    row.probability,
                    round(row.reward, 9),
                    row.closed_at,
                    row.closed_by,
                )
                for row in experiences
            ],
            "counts": counts,
        }


def happening(random: Random, now: int) -> tuple[str, Record]:
    """An event that the gateway takes now, and its topic."""
    decision_id = f"d{random.randrange(12)}"
    kind = random.random()
    if kind < 0.35:
        made = replace(decision(decision_id, now), deferred=random.random() < 0.3)
        conflicts = random.random() < 0.2
        return DECISIONS, decision_record(replace(made, request_sha256=bytes(32)) if conflicts else made)
    if kind < 0.45:
        return DECISIONS, activation_record(Activation(*LOOP, decision_id, now, random.choice([None, "a", "b"])))
    if kind < 0.97:
        metric = random.choice(["click", "click", "dwell", "unknown"])
        value = random.choice([0.0, 1.0, -4.5]) if random.random() < 0.8 else "a text"
        feedback_id = f"f{random.randrange(100)}"
        return FEEDBACK, feedback_record(Feedback(*LOOP, feedback_id, decision_id, metric, value, now))
    return random.choice([DECISIONS, FEEDBACK]), Record("key", b"rubbish")


RANDOM = st.randoms(use_true_random=False)


class JoinerMachine(RuleBasedStateMachine):
    def __init__(self, database_url: str) -> None:
        super().__init__()
        self.database_url = database_url

    @initialize(
        batch=st.integers(1, 4),
        aggregation=st.sampled_from(sorted(AGGREGATIONS)),
        metrics=st.sampled_from([{"click": 1.0}, {"click": 1.0, "dwell": -0.5}]),
        closes_early=st.booleans(),
        late_feedback=st.sampled_from(["keep", "restate"]),
    )
    def start(
        self, batch: int, aggregation: str, metrics: dict[str, float], closes_early: bool, late_feedback: str
    ) -> None:
        self.bench = Bench(
            self.database_url,
            batch=batch,
            reward={"metrics": {name: {"weight": weight} for name, weight in metrics.items()}},
            reward_aggregation=aggregation,
            default_reward=-1.0,
            close_on_first_feedback=closes_early,
            late_feedback=late_feedback,
        )
        self.model = Model(metrics, aggregation, closes_early, late_feedback == "restate", batch)
        self.on_the_way: list[tuple[str, Record]] = []
        self.failing: Iterator[str] = iter(())
        event.listen(self.bench.engine, "commit", self.commit)
        self.restart()
        self.turn()

    def commit(self, connection: Connection) -> None:
        """Fails as the crash under way wants it: before the commit, or after it, with the answer lost."""
        if not connection.get_execution_options().get("rewardloop_writes"):
            return
        fault = next(self.failing, "none")
        if fault == "lost":
            connection.exec_driver_sql("COMMIT")
        if fault != "none":
            raise OperationalError("COMMIT", {}, Exception("the process is gone"))

    @rule(random=RANDOM, count=st.integers(4, 16))
    def events_happen(self, random: Random, count: int) -> None:
        """The gateway takes events; they get to the log some time."""
        for _ in range(count):
            self.bench.passes(random.randrange(SECOND))
            self.on_the_way.append(happening(random, self.bench.wall))

    @rule(random=RANDOM, share=st.sampled_from([0.3, 1.0]))
    def events_arrive(self, random: Random, share: float) -> None:
        """Of the events on their way some get to the log, in any order, and of those some twice."""
        random.shuffle(self.on_the_way)
        count = math.ceil(share * len(self.on_the_way))
        arriving, self.on_the_way = self.on_the_way[:count], self.on_the_way[count:]
        self.on_the_way += [one for one in arriving if random.random() < 0.1]
        for topic, record in arriving:
            self.bench.log.append(topic, [record])

    @rule(microseconds=st.sampled_from([SECOND, WAIT, WAIT + GRACE + 1]), leap=st.sampled_from([0] * 10 + [-24, 1]))
    def time_passes(self, microseconds: int, leap: int) -> None:
        self.bench.passes(microseconds)
        self.bench.wall += leap * HOUR

    @rule(count=st.integers(1, 4))
    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def turn(self) -> None:
        self.bench.joiner.step()
        self.model.step(self.bench.log, self.time)

    @rule(commit=st.integers(0, 2), answer=st.sampled_from(["refused", "lost"]))
    def crash(self, commit: int, answer: str) -> None:
        """One of the commits of a turn fails, and the process with it."""
        before = self.model
        self.model = deepcopy(before)
        self.model.step(self.bench.log, self.time)
        self.failing = iter(["none"] * commit + [answer])
        try:
            self.bench.joiner.step()
        except OperationalError:
            if tables(self.bench) == before.view():
                self.model = before
        self.failing = iter(())
        self.restart()

    @rule()
    def restart(self) -> None:
        self.bench.start()
        self.time = WindowTime(lambda: self.bench.wall, lambda: self.bench.monotonic)

    @invariant()
    def tables_are_as_the_model_says(self) -> None:
        if hasattr(self, "model"):
            assert tables(self.bench) == self.model.view()

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        for topic, record in self.on_the_way:
            self.bench.log.append(topic, [record])
        turns = 2 + max(len(self.bench.log.records[topic]) for topic in (DECISIONS, FEEDBACK))
        for _ in range(turns):
            self.turn()
        self.bench.passes(WAIT + GRACE + 1)
        for _ in range(2):
            self.turn()
        self.tables_are_as_the_model_says()
        assert not self.model.ends or self.bench.wall < max(self.model.ends.values()) + GRACE
        events = [event_from_record(record) for record in self.bench.log.records[EXPERIENCES]]
        sequences = [one.sequence for one in events if isinstance(one, Experience)]
        assert list(dict.fromkeys(sequences)) == [row[0] for row in self.model.experiences]
        self.bench.engine.dispose()


def test_tables_are_as_the_model_says_whatever_happens(database_url: str) -> None:
    run_state_machine_as_test(
        lambda: JoinerMachine(database_url),
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
