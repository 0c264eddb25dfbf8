"""What must start without torch does."""

import subprocess
import sys

import pytest

PROBE = "import sys, importlib; importlib.import_module(sys.argv[1]); sys.exit('torch' in sys.modules)"


@pytest.mark.parametrize(
    "module",
    [
        "services.gateway.__main__",
        "services.feedback.__main__",
        "services.dashboard.__main__",
        "services.trainer.__main__",
        "services.__main__",
        "shared.functional.rewards",
        "shared.wire",
        "shared.registry.manifest",
    ],
)
def test_module_imports_no_torch(module: str) -> None:
    assert subprocess.run([sys.executable, "-c", PROBE, module], check=False).returncode == 0
