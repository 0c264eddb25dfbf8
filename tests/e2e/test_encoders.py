"""A pretrained encoder that a loop names acts, over HTTP: tiny ones with random weights, in the platform's folder."""

import base64
import shutil
from io import BytesIO

import httpx
import numpy as np
from PIL import Image

from tests.e2e import product
from tests.e2e.conftest import Platform, until
from tests.unit.shared.networks import pretrained

# Of colours, as a random network tells them apart.
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
VISITS = 90


def put(http: httpx.Client, loop_id: str, encoder: str) -> httpx.Response:
    body = {
        "modalities": {"photo": {"kind": "image", "encoder": encoder}},
        "actions": [{"id": colour} for colour in COLOURS],
        "learning": {"max_steps": 100},
    }
    return http.put(f"/v1/loops/{loop_id}", json=body, timeout=120)


def context(colour: str, seed: int) -> dict[str, object]:
    noise = np.random.default_rng(seed).integers(-30, 30, (12, 12, 3))
    file = BytesIO()
    Image.fromarray((np.array(COLOURS[colour]) + noise).astype(np.uint8)).save(file, "PNG")
    return {"context": {"photo": {"data": base64.b64encode(file.getvalue()).decode(), "content_type": "image/png"}}}


def visit(http: httpx.Client, loop_id: str, seed: int) -> None:
    """Decisions on pictures of one colour each: naming it is worth one."""
    colours = list(np.random.default_rng(seed).choice(list(COLOURS), VISITS))
    batch = {"decisions": [context(colour, seed + index) for index, colour in enumerate(colours)]}
    answer = http.post(f"/v1/loops/{loop_id}/decisions:batch", json=batch, timeout=60).raise_for_status().json()
    events = [
        {"decision_id": one["decision_id"], "metric": "reward", "value": float(one["action_id"] == colour)}
        for one, colour in zip(answer["decisions"], colours, strict=True)
    ]
    http.post(f"/v1/loops/{loop_id}/feedback", json=events).raise_for_status()


def version(http: httpx.Client, loop_id: str) -> str | None:
    """Which version decides now."""
    answer: product.Answer = http.post(f"/v1/loops/{loop_id}/decisions", json=context("red", 0)).json()
    decided: str | None = answer["model_version"]
    return decided


def picks(http: httpx.Client, loop_id: str) -> dict[str, str]:
    """What each colour's picture is most likely answered with."""
    found = {}
    for colour in COLOURS:
        decision = http.post(f"/v1/loops/{loop_id}/decisions", json=context(colour, 7)).raise_for_status().json()
        assert decision["modalities_used"] == ["photo"]
        found[colour] = max(decision["ranking"], key=lambda one: one["probability"])["id"]
    return found


def test_a_loop_decides_and_learns_through_the_encoder_that_it_names(
    shared_platform: Platform, http: httpx.Client
) -> None:
    pretrained.write_timm_model(shared_platform.home / "encoders" / "shapes")
    put(http, "encoded", "timm:shapes").raise_for_status()
    until(lambda: version(http, "encoded") == "1", "version 1 decides")
    for seed in (0, 1000):
        visit(http, "encoded", seed)
    until(lambda: product.statistics(http, "encoded")["head_sequence"] == 2 * VISITS, "the head has learned")
    assert picks(http, "encoded") == {colour: colour for colour in COLOURS}
    run = product.fine_tune(http, "encoded")
    assert run["model_version"] == "2", run
    first, second = (http.get(f"/v1/loops/encoded/models/{number}").raise_for_status().json() for number in (1, 2))
    assert second["settings"]["modalities"]["photo"]["encoder"] == "timm:shapes"
    assert second["architecture"]["trunks"] == first["architecture"]["trunks"]
    assert len(second["architecture"]["trunks"]["photo"]["sha256"]) == 64
    # What learns behind it is in the version's file, the encoder is not.
    weights = shared_platform.home / "encoders" / "shapes" / "model.safetensors"
    assert second["parts"]["encoding"]["bytes"] < weights.stat().st_size
    assert picks(http, "encoded") == {colour: colour for colour in COLOURS}


def test_weights_that_cannot_be_used_are_told_and_the_loop_answers_evenly_until_they_can(
    shared_platform: Platform, http: httpx.Client
) -> None:
    problem = put(http, "later", "timm:late")
    assert problem.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert problem.json()["field"] == "modalities.photo.encoder"
    assert problem.json()["detail"].startswith("There are no weights of `timm:late`: neither a folder `late` in ")
    folder = shared_platform.home / "encoders" / "late"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert put(http, "later", "timm:late").status_code == httpx.codes.CREATED
    (run,) = http.get("/v1/loops/later/training-runs").raise_for_status().json()["items"]
    assert run["status"] == "failed"
    assert run["detail"] == "modality 'photo': `timm` cannot read the files of `late`"
    decision = http.post("/v1/loops/later/decisions", json=context("red", 0)).raise_for_status().json()
    assert decision["fallback_reason"] == "no_model_yet"
    assert {round(one["probability"], 9) for one in decision["ranking"]} == {round(1 / 3, 9)}
    shutil.rmtree(folder)
    pretrained.write_timm_model(folder)
    assert product.fine_tune(http, "later")["status"] == "succeeded"
    until(lambda: version(http, "later") == "1", "version 1 decides")


def test_an_encoder_that_does_not_read_the_kind_or_is_a_path_is_refused(http: httpx.Client) -> None:
    for encoder in ("sentence-transformers:words", "timm:../words", "resnet18"):
        problem = put(http, "wrong", encoder)
        assert problem.status_code == httpx.codes.UNPROCESSABLE_ENTITY, problem.text
        assert "modalities.photo" in problem.text
