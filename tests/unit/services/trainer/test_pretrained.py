"""Loops whose pictures go through a pretrained encoder, a tiny one with random weights, from training run to report."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from services.trainer.examples import examples_of
from services.trainer.experiences import Replay
from services.trainer.fine_tuning import fine_tune
from services.trainer.networks import Networks
from services.trainer.reporting import Reporter
from services.trainer.trainer import Trainer
from shared import wire
from shared.db.engine import write_session
from shared.db.tables import DecisionRow, LoopRow
from shared.domain import Floats, Media, TrainingRun
from shared.loop_settings import LearningSettings, Loop
from shared.networks.media_decoder import decode_all
from shared.networks.preparation import Raw, Trunk
from shared.networks.trunk_files import TrunkError
from shared.networks.trunks import Trunks
from shared.pb.events.v1 import events_pb2
from shared.registry.manifest import Architecture
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace
from tests.unit.shared.networks import pretrained

ENCODED = {"photo": {"kind": "image", "encoder": "timm:shapes"}}
PLAIN = {"photo": {"kind": "image"}}
COUNT = 120


@dataclass
class Studio:
    """A trainer on a workplace with a folder of encoders."""

    place: Workplace
    encoders: Path

    def trainer(self) -> Trainer:
        """A new one, as after a restart."""
        trunks = Trunks(self.encoders)
        return replace(self.place.trainer(), replay=self.replay(trunks), trunks=trunks)

    def replay(self, trunks: Trunks) -> Replay:
        return Replay(self.place.engine, decode_all, self.place.artifacts.get, trunks=trunks)

    def run(self, kind: str = "fine_tune") -> TrainingRun:
        ref = bandit.add_run(self.place.engine, "initialise" if kind == "initialise" else "fine_tune")
        self.trainer().run(ref)
        return self.place.read(ref)

    def change(self, modalities: dict[str, dict[str, str]]) -> None:
        with write_session(self.place.engine) as session:
            row = session.get_one(LoopRow, (bandit.TENANT, bandit.LOOP_ID))
            row.settings = bandit.settings(modalities=modalities).model_dump(mode="json")

    def loop(self) -> Loop:
        return bandit.read_loop_of(self.place.engine)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders") / "shapes"
    pretrained.write_timm_model(folder)
    return folder


@pytest.fixture
def studio(workplace: Workplace, shapes: Path) -> Studio:
    shutil.copytree(shapes, workplace.folder / "encoders" / "shapes")
    return Studio(workplace, workplace.folder / "encoders")


def start(studio: Studio, modalities: dict[str, dict[str, str]], count: int = COUNT) -> None:
    """Version 1, and experiences whose pictures show, by their shade, which action is right."""
    bandit.add_loop(studio.place.engine, bandit.settings(modalities=modalities))
    assert studio.run("initialise").status == "succeeded"
    bandit.add_experiences(studio.place.engine, count)
    with write_session(studio.place.engine) as session:
        for row in session.query(DecisionRow):
            message = events_pb2.DecisionMade.FromString(row.payload)
            decision = wire.decision_from_pb(message)
            data = png(100 * bandit.right_action(decision), decision.decided_at)
            media = Media("image/png", studio.place.artifacts.put(data), data)
            message.context.CopyFrom(wire.context_to_pb({"photo": media}))
            row.payload = message.SerializeToString()


def png(shade: int, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 40, (12, 12), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise + np.uint8(shade)).save(file, "PNG")
    return file.getvalue()


class Counting:
    """A trunk that counts what it encodes."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk, self.dimension, self.side, self.encoded = trunk, trunk.dimension, trunk.side, 0

    def encode(self, values: Sequence[Raw]) -> Floats:
        self.encoded += len(values)
        return self.trunk.encode(values)


class CountingTrunks(Trunks):
    """Encoders that count."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.counting: dict[str, Counting] = {}

    def current(self, modalities: object) -> dict[str, Trunk]:
        found = super().current(modalities)  # type: ignore[arg-type] # passed on as it is
        return {name: self.counting.setdefault(name, Counting(one)) for name, one in found.items()}


def test_versions_hold_the_encoders_hash_and_not_its_weights(studio: Studio) -> None:
    start(studio, ENCODED)
    first = studio.place.manifest(studio.place.champion())
    assert first.architecture.trunks == studio.trainer().trunks.identities(studio.loop().settings.modalities)
    assert first.settings.modalities["photo"].encoder == "timm:shapes"
    run = studio.run()
    assert run.status in {"succeeded", "skipped"}, run
    assert run.version == 2
    for version in studio.place.versions():
        manifest = studio.place.manifest(version)
        assert manifest.architecture == first.architecture
        weights = load(studio.place.artifacts.get(manifest.parts["encoding"]))
        assert sum(tensor.numel() for tensor in weights.values()) < 150_000
        # The view: principal components of what the encoder gives.
        dimension = first.architecture.trunks["photo"].dimension
        assert weights["views.0.components"].shape[0] == dimension + 1


def test_each_picture_is_encoded_once_however_often_it_is_learned_from(studio: Studio) -> None:
    start(studio, ENCODED)
    trunks = CountingTrunks(studio.encoders)
    trainer = replace(studio.place.trainer(), replay=studio.replay(trunks), trunks=trunks)
    for _ in range(2):
        trainer.run(bandit.add_run(studio.place.engine, "fine_tune"))
    assert trunks.counting["photo"].encoded == COUNT


@pytest.mark.parametrize("tune", ["all", "adapters"])
def test_what_stands_behind_the_encoder_learns_and_it_does_not(studio: Studio, tune: str) -> None:
    start(studio, ENCODED)
    trunks = Trunks(studio.encoders)
    loop = studio.loop()
    settings = loop.settings.model_copy(update={"learning": LearningSettings(tune=tune, max_steps=20)})  # type: ignore[arg-type] # one of two
    architecture = Architecture.of(settings, trunks.identities(settings.modalities))
    network = trunks.current(settings.modalities)["photo"]._network  # type: ignore[attr-defined] # what must stay
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    examples = examples_of(studio.replay(trunks).read(loop, COUNT, lambda: None), architecture, (0.0, 1.0))
    champion = Networks.seeded(architecture, 0)
    tuned = fine_tune(champion, examples, settings.learning, 1, lambda *_: None).networks
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    (projection,), (adapter,) = tuned.encoder.modalities, tuned.encoder.adapters
    assert moved(projection, champion.encoder.modalities[0]) == (tune == "all")
    assert moved(adapter, champion.encoder.adapters[0]) == (tune == "adapters")


def moved(after: torch.nn.Module, before: torch.nn.Module) -> bool:
    pairs = zip(after.parameters(), before.parameters(), strict=True)
    return any(not torch.equal(one, other) for one, other in pairs)


def test_a_loop_may_take_up_an_encoder_and_give_it_up_again(studio: Studio) -> None:
    """The champion is held against the candidate as each reads the same pictures."""
    start(studio, PLAIN)
    for number, modalities in enumerate((ENCODED, PLAIN), start=2):
        studio.change(modalities)
        run = studio.run()
        assert run.status in {"succeeded", "skipped"}, run
        newest = studio.place.versions()[0]
        assert newest.version == run.version == number
        manifest = studio.place.manifest(newest)
        assert list(manifest.architecture.trunks) == (["photo"] if modalities is ENCODED else [])


def test_missing_weights_fail_the_run_and_say_what_is_missing_until_they_are_there(studio: Studio) -> None:
    (studio.encoders / "shapes").rename(studio.encoders / "elsewhere")
    bandit.add_loop(studio.place.engine, bandit.settings(modalities=ENCODED))
    run = studio.run("initialise")
    assert run.status == "failed"
    assert run.detail is not None
    assert run.detail.startswith("modality 'photo': no weights of `timm:shapes`: neither a folder `shapes` in ")
    assert str(studio.encoders) not in run.detail
    (studio.encoders / "elsewhere").rename(studio.encoders / "shapes")
    assert studio.run().status == "succeeded"
    assert studio.place.champion().version == 1


def test_other_weights_under_the_same_name_fail_the_run_and_the_report(studio: Studio) -> None:
    start(studio, ENCODED)
    shutil.rmtree(studio.encoders / "shapes")
    pretrained.write_timm_model(studio.encoders / "shapes", seed=1)
    run = studio.run()
    assert run.status == "failed"
    assert "not those that the version was made with" in str(run.detail)
    place = studio.place
    reporter = Reporter(place.engine, place.artifacts, studio.replay(Trunks(studio.encoders)), place.clock)
    with pytest.raises(TrunkError):
        reporter.report(bandit.TENANT, bandit.LOOP_ID)


def test_a_report_tells_of_such_a_loop_too(studio: Studio) -> None:
    start(studio, ENCODED)
    place = studio.place
    reporter = Reporter(place.engine, place.artifacts, studio.replay(Trunks(studio.encoders)), place.clock)
    stored = reporter.report(bandit.TENANT, bandit.LOOP_ID)
    assert stored is not None
    assert set(stored.report.modality_importance.modalities) == {"photo"}
