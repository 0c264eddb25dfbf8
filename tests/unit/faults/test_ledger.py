from pathlib import Path

from tests.faults.ledger import ENCODER, END_BYTES, DecisionAttempt, Ledger


def test_the_end_of_a_ledger_is_its_last_attempts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    attempts = [DecisionAttempt("default", number, 0.0, 0.0, 0.0, "ok") for number in range(1000)]
    path.write_bytes(b"".join(ENCODER.encode(one) + b"\n" for one in attempts) + b'{"of":"decis')
    end = Ledger.read_end(path).decisions
    assert 100 < len(end) < 1000
    assert end == attempts[-len(end) :]
    assert Ledger.read(path).decisions == attempts
    path.write_bytes(ENCODER.encode(attempts[0]) + b"\n")
    assert path.stat().st_size < END_BYTES
    assert Ledger.read_end(path).decisions == attempts[:1]
