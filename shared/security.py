"""Keys, roles and secrets: who may call, and what the draws rest on."""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Role = Literal["decide", "feedback", "manage"]

# Lets a secret scanner know what it has found.
KEY_PREFIX: Final = "rl_"
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the platform keeps it: never the key itself."""

    tenant: str
    key_id: str
    role: Role
    sha256: bytes
    created_at: int
    revoked_at: int | None = None


def new_key() -> str:
    """A key of 256 random bits: so long that its plain SHA-256 cannot be searched."""
    return KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def new_secret() -> str:
    """256 random bits in hexadecimal."""
    return secrets.token_hex(SECRET_BYTES)


def key_digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


def role_allows(role: Role, needed: Role) -> bool:
    """Whether a key of this role may do what needs that one; `manage` may do everything."""
    return role in ("manage", needed)


def secret_file(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that only its owner may read; made, durably and once, where it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", encoding="utf-8") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
            # Where another process was first, its secret counts.
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text("utf-8").strip()


def draw_seed(key: bytes, tenant: str, loop_id: str, decision_id: str) -> int:
    """The seed of a decision's draw, 64 bits: the same for the same key and ids, and not to be foreseen without it."""
    digest = hmac.digest(key, f"{tenant}/{loop_id}/{decision_id}".encode(), "sha256")
    return int.from_bytes(digest[:8], "big")
