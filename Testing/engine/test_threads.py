"""Settings of the threads' library, as a process of the engine has them."""

import os
import subprocess
import sys

import pytest
from places import REPOSITORY


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_the_command_line_waits_politely_unless_told_otherwise(environment, expected):
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, sys; sys.argv = ['cycleinr', '--help']\nfrom cycleinr.cli.app import run\nrun()\n"
    code += "assert 'torch' not in sys.modules\nprint('spin', os.environ.get('GOMP_SPINCOUNT'))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "CycleINRSlicer",
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.endswith(f"spin {expected}\n")
