"""Who calls, by `Authorization: Bearer <key>`, and whether the key's role allows it."""

import hmac
from collections.abc import Callable
from typing import Final, Literal, NoReturn

import structlog
from sqlalchemy import Engine

from services.gateway import repository
from services.gateway.directory import Directory
from services.gateway.problems import Problem, ProblemType
from services.gateway.settings import GatewaySettings
from shared.db.engine import write_session
from shared.domain import Clock
from shared.security import ApiKey, Role, key_digest, new_key, role_allows, secret_file

BOOTSTRAP_TENANT: Final = "default"
BOOTSTRAP_FILE: Final = "bootstrap.key"
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
WEAK_LENGTH: Final = 32

log: Final = structlog.get_logger(__name__)


def authenticate(directory: Directory, authorization: str, needed: Role | Literal["any"]) -> ApiKey:
    """The caller's key, by the header or the metadata of that name, empty where there is none; where `any` is needed,
    whatever its role.

    Raises:
        Problem: there is none, it is not known or was revoked, or its role does not allow what is asked.
    """
    scheme, _, sent = authorization.partition(" ")
    if scheme.lower() != "bearer" or not sent.strip():
        raise Problem(ProblemType.NO_KEY, "Send `Authorization: Bearer <key>`.", headers=CHALLENGE)
    digest = key_digest(sent.strip())
    key = directory.key(digest)
    # The look-up is by digest, which a caller cannot steer; the comparison does not tell how far it came.
    if key is None or not hmac.compare_digest(key.sha256, digest):
        raise Problem(ProblemType.UNKNOWN_KEY, "It was never made, or it was revoked.", headers=CHALLENGE)
    if needed != "any" and not role_allows(key.role, needed):
        raise Problem(ProblemType.ROLE_NOT_ALLOWED, f"This needs the role `{needed}`; the key has `{key.role}`.")
    return key


def ensure_bootstrap_key(engine: Engine, settings: GatewaySettings, clock: Clock) -> None:
    """Makes sure of a first manage key, unless the settings turn that off; a revoked one stays revoked."""
    if not settings.bootstrap:
        return
    if settings.bootstrap_key is not None:
        key = settings.bootstrap_key.get_secret_value()
    else:
        key = secret_file(settings.home / BOOTSTRAP_FILE, new_key)
    if len(key) < WEAK_LENGTH:
        log.warning("the bootstrap key is short: whoever guesses it may do everything")
    digest = key_digest(key)
    with write_session(engine) as session:
        if all(known.sha256 != digest for known in repository.read_keys(session)):
            repository.add_key(session, BOOTSTRAP_TENANT, "manage", digest, clock())


def refuse_to_listen_without_keys(host: str, directory: Directory, give_up: Callable[[str], NoReturn]) -> None:
    """A gateway that nobody has a key for does not stand on a public interface."""
    if host not in LOOPBACK and not directory.snapshot.keys:
        give_up(f"there is no key, so it listens on {LOOPBACK[0]} only: set REWARDLOOP_BOOTSTRAP_KEY")
