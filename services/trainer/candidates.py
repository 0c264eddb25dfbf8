"""What a run offers to the registry: version 1, or a fine-tuned version with the gate's verdict."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.experiences import PreparedExperience, Replay
from services.trainer.fine_tuning import DivergedError, FineTune, FineTuned, Report
from services.trainer.fitted_iteration import fitted_targets, head_targets
from services.trainer.gate import Verdict, judge, judge_by_agreement, judge_by_temporal_difference
from services.trainer.heads import add_examples
from services.trainer.imitating import as_learned
from services.trainer.leasing import Lease
from services.trainer.networks import Networks, warm_start
from services.trainer.publishing import Candidate
from services.trainer.replaying import replayed
from services.trainer.repository import JoinedRow
from services.trainer.scoring import HeldOutRow, held_out_rows, score
from services.trainer.training_curve import TrainingCurve
from shared.domain import ModelVersion
from shared.loop_settings import Loop
from shared.networks.online_head import HeadStatistics
from shared.networks.parts import build_encoder, build_fusion, empty_statistics, load_module, load_policy
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import Architecture, DataWindow, Manifest

LEAST_EXPERIENCES: Final = 10
HELD_OUT: Final = 0.2
# How far a run is once it has read, and once it has fine-tuned; the rest is for the gate and the head.
READ: Final = 0.1
FINE_TUNED: Final = 0.9


class NothingToLearnError(RuntimeError):
    """The run ends without a version; the text says why."""


def first_candidate(loop: Loop, architecture: Architecture) -> Candidate:
    """Version 1: seeded weights and empty head statistics, so that its distribution is uniform."""
    networks = Networks.seeded(architecture, loop.settings.learning.seed)
    statistics = empty_statistics(architecture, loop.settings.learning.half_life_microseconds)
    return Candidate(networks, statistics, parent=None, covers_sequence=0, metrics={}, takes_over=True)


def fine_tuned_candidate(
    loop: Loop,
    architecture: Architecture,
    champion: ModelVersion,
    experiences: Sequence[PreparedExperience],
    artifacts: ArtifactStore,
    replay: Replay,
    lease: Lease,
    fine_tune: FineTune,
) -> Candidate:
    """Learns from the older experiences, is judged on the newest, and has a head that rests on all of them.

    With Q-learning, heads regress on r + γ max Q(s′, ·), and an experience of which it is not known what followed has
    no part. An apprentice learns whom to imitate, and is judged by how well it does; the first version that expects
    rewards takes its place unless it is worse.

    Raises:
        NothingToLearnError: there are too few experiences, or none to judge by.
        DivergedError: a loss, a weight or the head's sums are not finite.
        ProcessesError: the processes or devices of the fine-tune are not there, or ended.
        LeaseLostError: another worker has the run.
        TrunkError: the champion's pretrained encoder is not here any more.
    """
    loop = _as_it_learns(loop)
    learning, reward_range = loop.settings.learning, loop.settings.reward.range
    covers_sequence = max((one.row.sequence for one in experiences), default=0)
    if learning.bootstraps:
        experiences = [experience for experience in experiences if experience.is_whole]
    cut = len(experiences) - round(len(experiences) * HELD_OUT)
    older = examples_of(as_learned(loop, experiences[:cut]), architecture, reward_range)
    if len(older) < LEAST_EXPERIENCES:
        raise NothingToLearnError(f"{len(experiences)} experiences are too few")
    manifest = Manifest.model_validate_json(artifacts.get(champion.manifest_sha256))
    serving = load_networks(manifest, artifacts)
    start = warm_start(serving, architecture, learning.seed)
    curve = TrainingCurve(learning.learning_rate)
    report = _report(lease, curve)
    tuned = fine_tune(start, replayed(older, learning), learning, learning.seed + champion.version, report)
    statistics = _head(loop, tuned.networks, older, lease)
    completed = _completed(loop, tuned.networks, statistics, experiences, cut, lease)
    rows = held_out_rows(experiences[cut:], replay.read_decisions(loop, experiences[cut:]), reward_range)
    if not rows:
        raise NothingToLearnError("none of the newest experiences can be scored")
    served, theirs = experiences[:cut], rows
    if learning.bootstraps:
        # The champion's head learned the others online; that of Q-learning does not.
        served = [one for one in served if one.row.first_sequence <= champion.covers_sequence]
    if (architecture.modalities, architecture.trunks) != (serving.architecture.modalities, serving.architecture.trunks):
        by_id = replay.read_as(loop, serving.architecture, experiences, lease.keep)
        served = [by_id[one.row.decision_id] for one in served]
        theirs = [replace(row, experience=by_id[row.experience.row.decision_id]) for row in rows]
    verdict = _judge(loop, (tuned.networks, statistics), serving, served, rows, theirs, lease)
    goes_online = loop.settings.learning_mode == "online" and _is_apprentice(manifest)
    return Candidate(
        networks=tuned.networks,
        statistics=completed,
        parent=champion.version,
        covers_sequence=covers_sequence,
        metrics=_metrics(tuned, verdict) | {"first_sequence": float(experiences[0].row.first_sequence)},
        takes_over=verdict.takes_over or (goes_online and verdict.finding != "failed"),
        detail=verdict.detail,
        data_window=_window([one.row for one in experiences], held_out=len(experiences) - cut),
        training_curve=curve.points(),
    )


def load_networks(manifest: Manifest, artifacts: ArtifactStore) -> Networks:
    """A registered version's networks, verified by their hashes.

    Raises:
        ArtifactError: a part is missing or corrupt.
    """
    architecture = manifest.architecture
    parts = {name: artifacts.get(sha256) for name, sha256 in manifest.parts.items()}
    encoder = load_module(build_encoder(architecture), parts["encoding"])
    fusion = load_module(build_fusion(architecture), parts["fusion"])
    q_network, _ = load_policy(architecture, parts["policy"])
    return Networks(architecture, encoder, fusion, q_network)


def _window(rows: Sequence[JoinedRow], held_out: int) -> DataWindow:
    """Of what was learned from, one row at least."""
    return DataWindow(
        first_sequence=min(row.first_sequence for row in rows),
        last_sequence=max(row.sequence for row in rows),
        since=min(row.decided_at for row in rows),
        until=max(row.decided_at for row in rows),
        experiences=len(rows),
        held_out=held_out,
    )


def _is_apprentice(manifest: Manifest) -> bool:
    return manifest.settings.learning_mode == "apprentice" and manifest.parent is not None


def _metrics(tuned: FineTuned, verdict: Verdict) -> dict[str, float | str | None]:
    return {
        "training_loss": tuned.loss,
        "steps": float(tuned.steps),
        "l2_sp_distance": tuned.distance,
        "adapter_norm": tuned.adapter_norm,
        "gate": verdict.finding,
        **verdict.figures,
    }


def _completed(
    loop: Loop,
    networks: Networks,
    statistics: HeadStatistics,
    experiences: Sequence[PreparedExperience],
    cut: int,
    lease: Lease,
) -> HeadStatistics:
    """The head's statistics of all experiences, from those of the ones before the cut.

    Raises:
        DivergedError: they are not finite.
    """
    reward_range = loop.settings.reward.range
    if loop.settings.learning.bootstraps:
        # What followed is valued over all of them together.
        completed = _head(loop, networks, examples_of(experiences, networks.architecture, reward_range), lease)
    else:
        newest = examples_of(as_learned(loop, experiences[cut:]), networks.architecture, reward_range)
        completed = add_examples(networks, statistics, newest, lease.keep)
    if not all(bool(tensor.isfinite().all()) for tensor in completed.tensors().values()):
        raise DivergedError("the loss of a held-out experience is not finite")
    return completed


def _judge(
    loop: Loop,
    candidate: tuple[Networks, HeadStatistics],
    champion: Networks,
    served: Sequence[PreparedExperience],
    rows: Sequence[HeldOutRow],
    champion_rows: Sequence[HeldOutRow],
    lease: Lease,
) -> Verdict:
    """Both heads rest on older experiences alone, the champion's on those that it decides by; both see the same rows,
    each as it reads them."""
    examples = examples_of(as_learned(loop, served), champion.architecture, loop.settings.reward.range)
    statistics = _head(loop, champion, examples, lease)
    exploration = loop.settings.exploration
    ours = score(*candidate, rows, exploration, lease.keep)
    theirs = score(champion, statistics, champion_rows, exploration, lease.keep)
    if loop.settings.learning_mode == "apprentice":
        return judge_by_agreement(ours, theirs, rows)
    if not loop.settings.learning.bootstraps:
        return judge(ours, theirs, rows)
    low, high = loop.settings.reward.range
    rewards = torch.tensor([row.reward for row in rows], dtype=torch.float32)
    held_out = Examples([row.experience for row in rows], torch.zeros(0), rewards, zero=-low / (high - low))
    aims = head_targets(*candidate, held_out, loop.settings.learning.discount, lease.keep).double().numpy()
    return judge_by_temporal_difference(ours, theirs, rows, aims, held_out.zero, loop.settings.learning.discount)


def _as_it_learns(loop: Loop) -> Loop:
    """An apprentice regresses, whatever the objective that it will have once it is online."""
    if loop.settings.learning_mode != "apprentice":
        return loop
    learning = loop.settings.learning.model_copy(update={"objective": "reward_regression"})
    return replace(loop, settings=loop.settings.model_copy(update={"learning": learning}))


def _head(loop: Loop, networks: Networks, examples: Examples, lease: Lease) -> HeadStatistics:
    """Of the examples alone; with Q-learning they count what followed them too."""
    learning = loop.settings.learning
    if learning.bootstraps:
        examples = replace(examples, rewards=fitted_targets(networks, examples, learning.discount, lease.keep))
    empty = empty_statistics(networks.architecture, learning.half_life_microseconds)
    return add_examples(networks, empty, examples, lease.keep)


def _report(lease: Lease, curve: TrainingCurve) -> Report:
    def report(step: int, steps: int, loss: float | None) -> None:
        curve.note(step, steps, loss)
        lease.advance(READ + (FINE_TUNED - READ) * step / steps, loss, step)

    return report
