"""The client's example in the README does what it says."""

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.embedded.conftest import Embedded

ROOT = Path(__file__).resolve().parents[3]
RUN_LIMIT_S = 60


def test_three_of_four_get_a_mug(gateway: Embedded, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "sluice.client" in code]
    program = tmp_path / "buy.py"
    program.write_text(example.replace("127.0.0.1:50051", gateway.endpoint), encoding="utf-8")
    assert gateway.endpoint in program.read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program], cwd=ROOT, capture_output=True, text=True, timeout=RUN_LIMIT_S, check=True
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ada", "bob", "cyd", "dan"]
    assert sum(" got it: " in line for line in lines) == 3
    assert sum(line.endswith("was too late") for line in lines) == 1
