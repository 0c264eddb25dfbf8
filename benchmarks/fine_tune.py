"""One fine-tune over experiences of digits by the trainer alone: seconds, memory, and what it learned.

The pictures are scikit-learn's digits, drawn again and again with noise; each shows what one of ten actions, chosen at
random, earned. A run on them, version 1 made before, is measured in a process of its own; then the version that it made
names digits that it was not shown.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import Engine

from benchmarks.joined_rows import rows_of
from services.trainer.settings import TrainerSettings
from shared.db.engine import open_engine, read_session, write_session
from shared.db.loops import read_loop
from shared.db.tables import LoopRow
from shared.db.upgrading import upgrade
from shared.domain import Action, Decision, Media, RunKind, RunRef
from shared.loop_settings import LoopSettings
from shared.registry.training_runs import read_run, request_run
from shared.registry.versions import read_versions

TENANT, LOOP = "default", "digits"
CLASSES: Final = 10
SHOWN: Final = 1400
NOISE: Final = 16.0
# Kibibytes, the kernel's unit.
MEBIBYTE: Final = 1024

Pictures = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiences", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=1, help="that the networks learn on")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.home is not None:
        measure(options.home)
        return
    with tempfile.TemporaryDirectory() as home:
        log_experiences(Path(home), options.experiences)
        command = [sys.executable, "-m", "benchmarks.fine_tune", "--home", home]
        environment = os.environ | {
            "REWARDLOOP_TRAINING_PROCESSES": str(options.processes),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def digits() -> tuple[Pictures, NDArray[np.int64]]:
    """All 1,797 in an order of their own, and what they are."""
    # Here: the process that is measured does without it until it is done.
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return (found.images[order] * 255 / 16).astype(np.uint8), found.target[order]


def log_experiences(home: Path, count: int) -> None:
    """A loop with default settings, its experiences, and a request for version 1."""
    engine = open_engine(TrainerSettings(home=home).database)
    upgrade(engine)
    body = LoopSettings.model_validate(
        {"modalities": {"image": {"kind": "image"}}, "actions": [{"id": str(action)} for action in range(CLASSES)]}
    ).model_dump(mode="json")
    pictures, labels = digits()
    rng = np.random.default_rng(1)
    with write_session(engine) as session:
        session.add(LoopRow(tenant=TENANT, loop_id=LOOP, settings=body, settings_revision=1, created_at=0))
        session.flush()
        for sequence in range(1, count + 1):
            shown = (sequence - 1) % SHOWN
            noisy = pictures[shown] + rng.normal(0, NOISE, pictures[shown].shape)
            decision = decision_on(noisy.clip(0, 255).astype(np.uint8), int(rng.integers(CLASSES)), sequence)
            session.add_all(rows_of(decision, sequence, float(int(decision.action_id) == labels[shown])))
        session.get_one(LoopRow, (TENANT, LOOP)).last_sequence = count
    engine.dispose()


def decision_on(picture: Pictures, action: int, sequence: int) -> Decision:
    data = png(picture)
    return Decision(
        tenant=TENANT,
        loop_id=LOOP,
        decision_id=f"{sequence:08d}",
        decided_at=sequence,
        context={"image": Media("image/png", sha256(data).hexdigest(), data)},
        actions=[Action(str(one)) for one in range(CLASSES)],
        action_id=str(action),
        probability=1 / CLASSES,
        probabilities=np.full(CLASSES, 1 / CLASSES),
        seed=0,
        settings_revision=1,
        request_sha256=b"",
    )


def png(picture: Pictures) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def measure(home: Path) -> None:
    """Does the run in this process, and prints the figures."""
    from services.trainer.child import start_child
    from services.trainer.experiences import Replay
    from shared.networks.media_decoder import decode_all

    imported = peak_mebibytes()
    settings = TrainerSettings(home=home)
    trainer = start_child(settings).trainer
    # Decoded here, not in a process of its own, so that one core does it all.
    trainer = replace(trainer, replay=Replay(trainer.engine, decode_all, trainer.artifacts.get))
    trainer.run(request(trainer.engine, "initialise"))
    ref, started, worked = request(trainer.engine, "fine_tune"), time.monotonic(), cpu_seconds()
    trainer.run(ref)
    seconds, cpu = time.monotonic() - started, cpu_seconds() - worked
    peak = peak_mebibytes()
    with read_session(trainer.engine) as session:
        run = read_run(session, ref)
    assert run is not None
    figures = {
        "status": run.status,
        "detail": run.detail,
        "steps": run.steps,
        "loss": run.loss,
        "wall_seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mebibytes": peak,
        "above_the_import": peak - imported,
        **accuracy(trainer.engine, settings),
    }
    print("FINE_TUNE", json.dumps(figures), flush=True)


def request(engine: Engine, kind: RunKind) -> RunRef:
    with write_session(engine) as session:
        return request_run(session, TENANT, LOOP, kind, {}, 0).ref


def peak_mebibytes() -> int:
    """Resident memory of this process at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MEBIBYTE


def cpu_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def accuracy(engine: Engine, settings: TrainerSettings) -> dict[str, float]:
    """Shares of the digits that were not shown for which the newest version expects most of the right action.

    By the Q-network's own estimate, and by the head that serves.
    """
    import torch

    from services.trainer.candidates import load_networks
    from shared.networks.batches import collate
    from shared.networks.media_decoder import decode_all
    from shared.networks.parts import load_policy
    from shared.networks.policy import Candidates, Policy
    from shared.networks.preparation import prepare
    from shared.registry.artifacts import ArtifactStore
    from shared.registry.manifest import Manifest

    artifacts = ArtifactStore(settings.artifact_folder)
    with read_session(engine) as session:
        version, loop = read_versions(session, TENANT, LOOP)[0], read_loop(session, TENANT, LOOP)
    assert loop is not None
    pictures, labels = digits()
    data = [png(picture) for picture in pictures[SHOWN:]]
    contexts = [{"image": Media("image/png", sha256(one).hexdigest(), one)} for one in data]
    rows, _ = prepare(contexts, loop.settings.modalities, decode_all, artifacts.get)
    manifest = Manifest.model_validate_json(artifacts.get(version.manifest_sha256))
    networks = load_networks(manifest, artifacts)
    policy = Policy(manifest.architecture, *load_policy(manifest.architecture, artifacts.get(manifest.parts["policy"])))
    with torch.inference_mode():
        states_NS = networks.states(collate(rows, list(manifest.architecture.modalities)))
        candidates = Candidates.of([manifest.architecture.action_ids] * len(rows), [[]] * len(rows))
        of_head_NK = policy.score(states_NS, candidates, None).expected_reward
        of_network_NK = networks.q_network(states_NS).mean
    right_N = torch.from_numpy(labels[SHOWN:])
    return {
        name: round(float((expected_NK.argmax(1) == right_N).double().mean()), 4)
        for name, expected_NK in (("network_accuracy", of_network_NK), ("head_accuracy", of_head_NK))
    }


if __name__ == "__main__":
    main()
