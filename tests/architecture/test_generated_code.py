"""shared/pb is what proto/ says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def generated(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted((root / "shared/pb").rglob("*.py*"))
        if "__pycache__" not in path.parts
    }


def test_committed_code_is_what_the_contracts_generate(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    (tmp_path / "shared/pb").mkdir(parents=True)
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run(["bash", "proto/generate.sh"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert generated(ROOT) == generated(tmp_path)
