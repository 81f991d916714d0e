"""Archives take a derived series in over the network, and give it back as it was."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from cycleinr.dicom_out import DicomSettings
from cycleinr.files import read_volume

pynetdicom = pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install '.[test]'")

ORTHANC = shutil.which("Orthanc")

_ARCHIVE = """
import sys
from pathlib import Path
from pynetdicom import AE, StoragePresentationContexts, evt

folder = Path(sys.argv[1])

def store(event):
    data = event.dataset
    data.file_meta = event.file_meta
    data.save_as(folder / f"{data.SOPInstanceUID}.dcm", enforce_file_format=True)
    return 0x0000

archive = AE(ae_title="ARCHIVE")
for context in StoragePresentationContexts:
    archive.add_supported_context(context.abstract_syntax, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
server = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
"""


def send(files, port: int) -> list[int]:
    """C-STORE files to an archive on this computer; the status of each, 0 for success."""
    import pydicom

    data = [pydicom.dcmread(file) for file in files]
    sender = pynetdicom.AE(ae_title="CYCLEINR")
    for kind, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in data}:
        sender.add_requested_context(kind, syntax)
    association = sender.associate("127.0.0.1", port)
    assert association.is_established
    try:
        return [association.send_c_store(d).Status for d in data]
    finally:
        association.release()


@pytest.fixture
def storage_process(tmp_path):
    """Port and folder of a Storage SCP in a process of its own."""
    folder = tmp_path / "archive"
    folder.mkdir()
    command = [sys.executable, "-c", _ARCHIVE, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline()), folder
        process.stdin.close()
        process.wait(timeout=30)


@pytest.mark.parametrize("compress", [False, True], ids=["uncompressed", "rle"])
@pytest.mark.parametrize("name", ["ct", "mr"])
def test_a_storage_scp_takes_and_keeps_every_slice(name, compress, write, request, storage_process):
    scan = request.getfixturevalue(name)
    port, folder = storage_process
    files = write(scan, DicomSettings(compress=compress)).files

    assert set(send(files, port)) == {0}

    kept = read_volume(folder)
    np.testing.assert_array_equal(kept.array, scan.result.volume.array)
    np.testing.assert_allclose(kept.ijk_to_ras, scan.result.volume.ijk_to_ras, atol=1e-5)


class Orthanc:
    """A running Orthanc with an empty archive."""

    def __init__(self, folder: Path):
        self.dicom_port, self.http_port = free_ports(2)
        config = {
            **{"Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")},
            **{"DicomPort": self.dicom_port, "HttpPort": self.http_port, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "Plugins": []},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [ORTHANC, str(folder / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        log = []
        for line in self.process.stderr:
            log.append(line)
            if "Orthanc has started" in line:
                return
        pytest.fail("Orthanc did not start:\n" + "".join(log[-5:]))

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return answer.read()

    def list(self, path: str) -> list:
        return json.loads(self.get(path))

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture
def orthanc(tmp_path):
    """A fresh Orthanc; the test is skipped where it is not installed."""
    if ORTHANC is None:
        pytest.skip("needs the Orthanc archive (Debian and Ubuntu: apt-get install orthanc)")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = Orthanc(folder)
    yield server
    server.stop()


@pytest.mark.parametrize("name", ["ct", "mr"])
def test_orthanc_files_the_result_beside_its_source_and_gives_it_back(name, write, request, orthanc, tmp_path):
    scan = request.getfixturevalue(name)
    written = write(scan)

    assert set(send([*scan.files, *written.files], orthanc.dicom_port)) == {0}

    assert len(orthanc.list("/patients")) == 1
    assert len(orthanc.list("/studies")) == 1
    series = {s["MainDicomTags"]["SeriesInstanceUID"]: s for s in orthanc.list("/series?expand")}
    assert len(series) == 2
    ours = series[written.series_uid]
    assert ours["MainDicomTags"]["SeriesDescription"] == "Routine 4.0 1.5 mm CycleINR"
    assert len(ours["Instances"]) == len(written.files)
    (tmp_path / "back").mkdir()
    for instance in ours["Instances"]:
        (tmp_path / "back" / f"{instance}.dcm").write_bytes(orthanc.get(f"/instances/{instance}/file"))
    back = read_volume(tmp_path / "back")
    np.testing.assert_array_equal(back.array, scan.result.volume.array)
    np.testing.assert_allclose(back.ijk_to_ras, scan.result.volume.ijk_to_ras, atol=1e-5)
