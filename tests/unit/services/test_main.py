"""Which processes the platform consists of."""

import pytest

from services.__main__ import MODEL_SERVICES, EmbeddedSettings, programs


def test_the_model_services_share_a_process_unless_they_are_to_be_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    together = {program.name for program in programs(EmbeddedSettings())}
    monkeypatch.setenv("REWARDLOOP_SEPARATE_MODEL_SERVICES", "true")
    apart = {program.name: program.arguments[-1] for program in programs(EmbeddedSettings())}
    assert together - apart.keys() == {"models"}
    assert {name: apart[name] for name in apart.keys() - together} == {
        name: f"services.{name}" for name in MODEL_SERVICES
    }
