"""Ids of decisions and feedback, made here so that a call can be repeated."""

import secrets
import time
import uuid


def new_id() -> str:
    """A UUIDv7 (RFC 9562): milliseconds since 1970 in 48 bits, then 74 random bits; ids sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    version = value & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=version & ~(0x3 << 62) | 0x2 << 62))
