"""Who may do what: deny by default, roles, tenants, and the first key."""

import re
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from services.gateway.authentication import ensure_bootstrap_key, refuse_to_listen_without_keys
from services.gateway.routing import ApiRoute
from services.gateway.settings import GatewaySettings
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import Gateway
from tests.unit.services.gateway.test_dead_letters import put_aside

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
ANY_KEY = {"/v1/keys/current"}
DECIDE = {
    ("POST", "/v1/loops/{loop_id}/decisions"),
    ("POST", "/v1/loops/{loop_id}/decisions:batch"),
    ("POST", "/v1/loops/{loop_id}/decisions/{decision_id}/activate"),
    ("GET", "/v1/loops/{loop_id}/decisions/{decision_id}"),
    ("POST", "/v1/media"),
}
FEEDBACK = {("POST", "/v1/loops/{loop_id}/feedback"), ("POST", "/v1/loops/{loop_id}/episodes/{episode_id}/end")}


def operations(gateway: Gateway) -> list[tuple[str, str, str]]:
    """Method, path's template, and a path that it matches, of every route of the application."""
    routes = gateway.app.routes
    assert all(isinstance(route, Route) for route in routes)
    found = [
        (method, route.path, re.sub(r"\{[^}]*\}", "shoes", route.path))
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
    ]
    assert len(found) > 25
    return found


@pytest.mark.parametrize("key", ["", "no-such-key"])
async def test_every_route_denies_a_caller_without_a_key(gateway: Gateway, key: str) -> None:
    async with gateway.client(key) as stranger:
        for method, path, address in operations(gateway):
            answer = await stranger.request(method, address)
            if path in OPEN:
                assert answer.status_code != 401, path
            else:
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path)


async def test_a_role_opens_its_own_routes_only(gateway: Gateway, http: httpx.AsyncClient) -> None:
    for role, allowed in (("decide", DECIDE), ("feedback", FEEDBACK)):
        async with gateway.client(gateway.add_key(role)) as client:  # type: ignore[arg-type] # a role
            for method, path, address in operations(gateway):
                answer = await client.request(method, address, json={})
                expected_denial = path not in OPEN | ANY_KEY and (method, path) not in allowed
                assert (answer.status_code == 403) == expected_denial, (role, method, path)


async def test_every_key_may_ask_what_it_is(gateway: Gateway) -> None:
    for role in ("decide", "feedback", "manage"):
        async with gateway.client(gateway.add_key(role)) as client:  # type: ignore[arg-type] # a role
            told = (await client.get("/v1/keys/current")).raise_for_status().json()
        assert (told["role"], told["revoked_at"]) == (role, None)


def test_a_route_that_says_nothing_needs_the_manage_role() -> None:
    async def endpoint() -> None: ...

    assert ApiRoute("/x", endpoint).access == "manage"


async def test_the_documentation_says_which_role_an_operation_needs(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    roles = {(method.upper(), path): of["x-role"] for path, item in paths.items() for method, of in item.items()}
    assert {operation for operation, role in roles.items() if role == "decide"} == DECIDE
    assert {operation for operation, role in roles.items() if role == "feedback"} == FEEDBACK
    assert {path for (_, path), role in roles.items() if role == "any"} == ANY_KEY
    assert {path for (_, path), role in roles.items() if role == "open"} == OPEN - {"/openapi.json", "/docs"}


async def test_another_tenants_objects_do_not_exist(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    (await http.post("/v1/loops/shoes/decisions", json={"decision_id": "d-1"})).raise_for_status()
    run = (await http.post("/v1/loops/shoes/training-runs")).raise_for_status().json()["training_run_id"]
    media = await http.post("/v1/media", content=b"words", headers={"Content-Type": "text/plain"})
    media_id = media.raise_for_status().json()["media_id"]
    own_key = (await http.get("/v1/keys")).json()["items"][0]["key_id"]
    letter = put_aside(gateway, 7, tenant="default")
    async with gateway.client(gateway.add_key("manage", tenant="rival")) as rival:
        for method, path in (
            ("GET", "/v1/loops/shoes"),
            ("DELETE", "/v1/loops/shoes"),
            ("POST", "/v1/loops/shoes/decisions"),
            ("POST", "/v1/loops/shoes/decisions:batch"),
            ("GET", "/v1/loops/shoes/decisions"),
            ("GET", "/v1/loops/shoes/decisions/d-1"),
            ("POST", "/v1/loops/shoes/decisions/d-1/activate"),
            ("POST", "/v1/loops/shoes/feedback"),
            ("GET", "/v1/loops/shoes/experiences"),
            ("GET", "/v1/loops/shoes/statistics"),
            ("POST", "/v1/loops/shoes/training-runs"),
            ("GET", "/v1/loops/shoes/training-runs"),
            ("GET", f"/v1/loops/shoes/training-runs/{run}"),
            ("GET", "/v1/loops/shoes/models"),
            ("GET", "/v1/loops/shoes/models/1"),
            ("GET", f"/v1/media/{media_id}"),
            ("DELETE", f"/v1/keys/{own_key}"),
            ("POST", f"/v1/dead-letters/{letter}/replay"),
            ("DELETE", f"/v1/dead-letters/{letter}"),
        ):
            answer = await rival.request(method, path)
            assert answer.status_code == 404, (method, path, answer.text)
        assert (await rival.get("/v1/loops")).json()["items"] == []
        assert [key["role"] for key in (await rival.get("/v1/keys")).json()["items"]] == ["manage"]
        assert (await rival.get("/v1/audit")).json()["items"] == []
        assert (await rival.get("/v1/dead-letters")).json()["items"] == []
        (await rival.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        refers = {"context": {"title": {"media_id": media_id}}}
        answer = await rival.post("/v1/loops/shoes/decisions", json=refers)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:rewardloop:problem:unknown-media")
        decided = await rival.post("/v1/loops/shoes/decisions", json={"decision_id": "d-1", "deferred": True})
        # The same id in another tenant is another decision, by another draw.
        assert decided.status_code == 200
        (await rival.delete("/v1/loops/shoes")).raise_for_status()
    assert (await http.get("/v1/loops/shoes")).status_code == 200


async def test_a_key_is_shown_once_works_at_once_and_ends_at_once(gateway: Gateway, http: httpx.AsyncClient) -> None:
    made = (await http.post("/v1/keys", json={"role": "decide"})).raise_for_status().json()
    listed = (await http.get("/v1/keys")).json()["items"]
    assert [key["role"] for key in listed] == ["manage", "decide"]
    assert made["key"] not in str(listed)
    async with gateway.client(made["key"]) as client:
        assert (await client.post("/v1/loops/shoes/decisions", json={})).status_code == 200
        assert (await http.delete(f"/v1/keys/{made['key_id']}")).status_code == 204
        assert (await client.post("/v1/loops/shoes/decisions", json={})).status_code == 401
    assert (await http.get("/v1/keys")).json()["items"][1]["revoked_at"] is not None


async def test_the_last_manage_key_stays(http: httpx.AsyncClient) -> None:
    (own,) = (await http.get("/v1/keys")).json()["items"]
    refused = await http.delete(f"/v1/keys/{own['key_id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:rewardloop:problem:last-manage-key")
    (await http.post("/v1/keys", json={"role": "manage"})).raise_for_status()
    assert (await http.delete(f"/v1/keys/{own['key_id']}")).status_code == 204


async def test_every_change_leaves_one_entry(gateway: Gateway, http: httpx.AsyncClient) -> None:
    body = {"modalities": {"title": {"kind": "text"}}}
    (await http.put("/v1/loops/hats", json=body)).raise_for_status()
    (await http.put("/v1/loops/hats", json=body)).raise_for_status()
    run = (await http.post("/v1/loops/hats/training-runs", json={})).raise_for_status().json()["training_run_id"]
    key = (await http.post("/v1/keys", json={"role": "feedback"})).raise_for_status().json()["key_id"]
    (await http.delete(f"/v1/keys/{key}")).raise_for_status()
    media = await http.post("/v1/media", content=b"words", headers={"Content-Type": "text/plain; charset=utf-8"})
    (await http.delete("/v1/loops/hats")).raise_for_status()
    await http.delete("/v1/loops/hats")
    await http.put("/v1/loops/hats", json={})
    (await http.post("/v1/loops/shoes/decisions", json={})).raise_for_status()
    first = (await http.get("/v1/audit", params={"limit": 3})).json()
    rest = (await http.get("/v1/audit", params={"cursor": first["next_cursor"]})).json()
    assert rest["next_cursor"] is None
    assert [(entry["verb"], entry["object"]) for entry in first["items"] + rest["items"]] == [
        ("delete", "loops/hats"),
        ("create", f"media/{media.json()['media_id']}"),
        ("revoke", f"keys/{key}"),
        ("create", f"keys/{key}"),
        ("request", f"loops/hats/training-runs/{run}"),
        ("change", "loops/hats"),
        ("create", "loops/hats"),
        ("create", "loops/shoes"),
    ]


class TestBootstrap:
    async def test_a_key_is_made_once_for_its_owner_alone(
        self, make_gateway: Callable[..., Gateway], tmp_path: Path
    ) -> None:
        gateway = make_gateway()
        settings = GatewaySettings(home=tmp_path)
        for _ in range(2):
            ensure_bootstrap_key(gateway.ports.engine, settings, gateway.clock)
        path = tmp_path / "bootstrap.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        gateway.parts.directory.refresh()
        async with gateway.client(path.read_text()) as client:
            assert len((await client.get("/v1/keys")).json()["items"]) == 2

    async def test_a_revoked_bootstrap_key_stays_revoked(
        self, make_gateway: Callable[..., Gateway], http: httpx.AsyncClient
    ) -> None:
        (own,) = (await http.get("/v1/keys")).json()["items"]
        (await http.post("/v1/keys", json={"role": "manage"})).raise_for_status()
        (await http.delete(f"/v1/keys/{own['key_id']}")).raise_for_status()
        async with make_gateway().client() as client:
            assert (await client.get("/v1/keys")).status_code == 401

    def test_without_any_key_only_this_machine_may_call(self, make_gateway: Callable[..., Gateway]) -> None:
        directory = make_gateway(bootstrap=False).parts.directory
        with pytest.raises(SystemExit):
            refuse_to_listen_without_keys(
                "0.0.0.0", directory, lambda reason: (_ for _ in ()).throw(SystemExit(reason))
            )
        refuse_to_listen_without_keys("127.0.0.1", directory, pytest.fail)
