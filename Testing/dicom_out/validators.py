"""Programs of others that judge what is written; Testing/scripts/system_libraries.sh installs them where it may."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REQUIRED = "CYCLEINR_VALIDATORS"
"""Environment variable that .ci/run sets to "required": a missing program is then a failure."""

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def program(name: str, package: str) -> str:
    """Path of a program; skips the test where it is not installed, or fails it where it has to be."""
    # Servers lie where only the administrator's shell looks.
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    return found or _missing(name, package)


def dicomweb_plugin() -> str:
    """Path of Orthanc's plugin for DICOMweb; as `program`."""
    return str(DICOMWEB) if DICOMWEB.is_file() else _missing(DICOMWEB.name, "orthanc-dicomweb")


def _missing(name: str, package: str) -> str:
    reason = f"needs {name} (Debian and Ubuntu: apt-get install {package})"
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)
