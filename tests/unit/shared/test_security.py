"""Keys, roles, secrets and the seeds of draws."""

import stat
from pathlib import Path

from shared.security import draw_seed, key_digest, new_key, role_allows, secret_file


def test_keys_are_long_and_random() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 43 for key in keys)
    assert len(key_digest(keys.pop())) == 32


def test_manage_may_do_everything_and_the_others_their_own() -> None:
    assert role_allows("manage", "decide")
    assert role_allows("decide", "decide")
    assert not role_allows("decide", "feedback")
    assert not role_allows("feedback", "manage")


def test_a_secret_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    assert secret_file(path, lambda: "first") == "first"
    assert secret_file(path, lambda: "second") == "first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_seed_of_a_draw_is_the_head_of_an_hmac() -> None:
    # printf 'default/shoes/d-1' | openssl dgst -sha256 -hmac 7 | cut -c -16
    assert draw_seed(b"7", "default", "shoes", "d-1") == 0x9B7EF91BA96D49BF
    assert draw_seed(b"7", "default", "shoes", "d-1") != draw_seed(b"8", "default", "shoes", "d-1")
