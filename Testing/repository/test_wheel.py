"""The package as ``pip install .`` leaves it, without the checkout."""

import subprocess
import sys
import zipfile

from places import REPOSITORY


def test_wheel_holds_the_engine_and_its_weights(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("cycleinr-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name.partition("/")[0].split("-")[0] for name in archive.namelist()} == {"cycleinr"}
        assert [name for name in archive.namelist() if "/evaluation/" in name or "/training/" in name] == []
        archive.extractall(tmp_path / "site")
    script = "from cycleinr.request import bundled_weights as at; print(at('ct'), at('mr'))"
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", script]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    for path in answer.stdout.split():
        assert path.startswith(str(tmp_path / "site")), answer.stdout
        card = (tmp_path / "site" / "cycleinr" / "models" / path.rsplit("/", 1)[1]).with_suffix(".json")
        assert card.is_file() and (tmp_path / "site" / path).is_file()
