import torch

from services.trainer.networks import SHRINK, Networks, shrink_and_perturb, warm_start
from shared.loop_settings import LoopSettings
from shared.registry.manifest import Architecture

TEXT, TABLE = {"kind": "text"}, {"kind": "tabular"}


def architecture(
    modalities: dict[str, dict[str, str]],
    actions: list[str],
    fusion: str = "attention",
    features: bool = False,
    tune: str = "all",
) -> Architecture:
    described = [{"id": one, "features": {"price": 1}} if features else {"id": one} for one in actions]
    body = {"modalities": modalities, "actions": described, "fusion": {"strategy": fusion}, "learning": {"tune": tune}}
    return Architecture.of(LoopSettings.model_validate(body))


def trained(of: Architecture) -> Networks:
    """Weights that no seed gives."""
    networks = Networks.seeded(of, seed=0)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return networks


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_the_same_architecture_goes_on_from_the_champion() -> None:
    champion = trained(architecture({"title": TEXT}, ["a", "b"]))
    assert warm_start(champion, champion.architecture, seed=1) is champion


def test_encoders_follow_their_modality_by_name() -> None:
    champion = trained(architecture({"title": TEXT, "user": TABLE}, ["a"]))
    started = warm_start(champion, architecture({"new": TEXT, "user": TABLE, "title": TEXT}, ["a"]), seed=1)
    new, user, title = started.encoder.modalities
    assert same(title, champion.encoder.modalities[0])
    assert same(user, champion.encoder.modalities[1])
    assert not same(new, champion.encoder.modalities[0])


def test_weights_of_actions_follow_their_id() -> None:
    champion = trained(architecture({"title": TEXT}, ["a", "b", "c"]))
    started = warm_start(champion, architecture({"title": TEXT}, ["c", "new", "a"]), seed=1)
    old, new = champion.q_network.mean.weight, started.q_network.mean.weight
    assert torch.equal(new[[0, 2]], old[[2, 0]])
    assert not new[1].any()
    assert same(started.q_network.body, champion.q_network.body)


def test_another_fusion_starts_afresh_behind_the_encoders() -> None:
    champion = trained(architecture({"title": TEXT, "user": TABLE}, ["a"]))
    changed = architecture({"title": TEXT, "user": TABLE}, ["a"], fusion="shared_attention")
    started = warm_start(champion, changed, seed=1)
    assert same(started.encoder, champion.encoder)
    assert same(started.fusion, Networks.seeded(changed, seed=1).fusion)


def test_scoring_actions_by_features_starts_a_head_of_its_own() -> None:
    champion = trained(architecture({"title": TEXT}, ["a", "b"]))
    started = warm_start(champion, architecture({"title": TEXT}, ["a", "b"], features=True), seed=1)
    assert started.q_network.mean.weight.shape[0] == 1
    assert not started.q_network.prior_mean().any()
    assert same(started.encoder.modalities, champion.encoder.modalities)


def test_learning_leaves_the_champion_alone() -> None:
    champion = trained(architecture({"title": TEXT}, ["a"])).frozen()
    learning = champion.learning()
    with torch.no_grad():
        for parameter in learning.parameters():
            parameter.zero_()
    assert champion.q_network.mean.weight.any()
    assert all(parameter.requires_grad for parameter in learning.parameters())
    assert not any(parameter.requires_grad for parameter in champion.parameters())


def test_a_fine_tune_starts_between_the_champion_and_random_weights() -> None:
    champion = trained(architecture({"title": TEXT}, ["a"])).frozen()
    random = Networks.seeded(champion.architecture, seed=3)
    for mixed, learned, seeded in zip(
        shrink_and_perturb(champion, seed=3).parameters(), champion.parameters(), random.parameters(), strict=True
    ):
        assert torch.allclose(mixed, SHRINK * learned + (1 - SHRINK) * seeded, atol=1e-6)
        assert mixed.requires_grad


def test_with_adapters_they_and_the_q_network_learn_and_the_rest_stays_as_it_is() -> None:
    before = trained(architecture({"title": TEXT, "user": TABLE}, ["a"])).frozen()
    champion = warm_start(before, architecture({"title": TEXT, "user": TABLE}, ["a"], tune="adapters"), seed=1)
    assert same(champion.encoder.modalities, before.encoder.modalities)
    assert same(champion.fusion, before.fusion)
    learning = shrink_and_perturb(champion, seed=3)
    assert same(learning.encoder.modalities, champion.encoder.modalities)
    assert same(learning.fusion, champion.fusion)
    learns = {id(one) for one in learning.parameters() if one.requires_grad}
    adapters = [*learning.encoder.adapters.parameters(), *learning.q_network.parameters()]
    assert learns == {id(one) for one in adapters}


def test_adapters_follow_their_modality_by_name() -> None:
    champion = trained(architecture({"title": TEXT, "user": TABLE}, ["a"], tune="adapters"))
    started = warm_start(champion, architecture({"new": TEXT, "title": TEXT}, ["a"], tune="adapters"), seed=1)
    assert same(started.encoder.adapters[1], champion.encoder.adapters[0])
    assert not same(started.encoder.adapters[0], champion.encoder.adapters[0])
