"""A record's key and headers as JSON, beside its payload: what a table can hold of them, whatever their bytes are."""

from collections.abc import Mapping
from typing import TypedDict

from shared.eventlog import Record


class Envelope(TypedDict):
    """Header values as Latin-1, which maps every byte to one character and back."""

    key: str
    headers: dict[str, str]


def packed(record: Record) -> Envelope:
    return {"key": record.key, "headers": {name: value.decode("latin-1") for name, value in record.headers.items()}}


def unpacked(envelope: Envelope | None, payload: bytes) -> Record:
    """The record that was packed; without key and headers where its envelope is not known."""
    if envelope is None:
        return Record("", payload)
    headers: Mapping[str, bytes] = {name: text.encode("latin-1") for name, text in envelope["headers"].items()}
    return Record(envelope["key"], payload, headers)
