"""The suite can fail: with a guarantee switched off, the checker goes red for that very reason."""

from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.faults.running import run
from tests.faults.scenarios import PROOFS

RATE = 10.0
SECONDS = 15.0


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_with_a_guarantee_switched_off_the_checker_goes_red(tmp_path: Path) -> None:
    with Bench(tmp_path).running() as bench:
        results = [run(bench, scenario, RATE, SECONDS, tmp_path, print) for scenario in PROOFS]
    for result in results:
        assert result.holds, (result.scenario.name, result.violations)
