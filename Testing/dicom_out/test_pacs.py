"""Archives take a derived series in over the network, and give it back as it was."""

from __future__ import annotations

import email
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from cycleinr.dicom_out import DicomSettings
from cycleinr.files import read_volume
from dicom_out.series_sources import Scan
from dicom_out.validators import DICOMWEB, dicomweb_plugin, program

pynetdicom = pytest.importorskip("pynetdicom", reason="needs pynetdicom: pip install '.[test]'")

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
    sender.dimse_timeout = 10
    for kind, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in data}:
        sender.add_requested_context(kind, syntax)

    def associate():
        association = sender.associate("127.0.0.1", port)
        assert association.is_established
        # Each object goes in two pieces; the second one must not wait until the first is confirmed
        association.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return association

    association, answers = associate(), []
    try:
        for one in data:
            answer = association.send_c_store(one)
            # pynetdicom's own thread at times takes an answer for a request and drops it, which ends the association
            if not answer:
                association = associate()
                answer = association.send_c_store(one)
            answers.append(answer.Status)
        return answers
    finally:
        association.release()


@pytest.fixture(scope="module")
def storage_process(tmp_path_factory):
    """Port and folder of a Storage SCP in a process of its own."""
    folder = tmp_path_factory.mktemp("archive")
    command = [sys.executable, "-c", _ARCHIVE, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline()), folder
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture
def storage(storage_process):
    """Port and empty folder of the Storage SCP."""
    _, folder = storage_process
    for file in folder.iterdir():
        file.unlink()
    return storage_process


@pytest.mark.parametrize("compress", [False, True], ids=["uncompressed", "rle"])
@pytest.mark.parametrize("name", ["ct", "mr"])
def test_a_storage_scp_takes_and_keeps_every_slice(name, compress, write, request, storage):
    scan = request.getfixturevalue(name)
    port, folder = storage
    files = write(scan, DicomSettings(compress=compress)).files

    assert set(send(files, port)) == {0}

    kept = read_volume(folder)
    np.testing.assert_array_equal(kept.array, scan.result.volume.array)
    np.testing.assert_allclose(kept.ijk_to_ras, scan.result.volume.ijk_to_ras, atol=1e-5)


def test_an_object_whose_answer_got_lost_is_sent_once_more(ct, storage, monkeypatch):
    port, folder = storage
    received, lost = pynetdicom.dimse.DIMSEServiceProvider.get_msg, []

    def get_msg(self, block=False):
        answer = received(self, block)
        if not block or lost:
            return answer
        lost.append(answer)
        return None, None

    monkeypatch.setattr(pynetdicom.dimse.DIMSEServiceProvider, "get_msg", get_msg)

    assert send(ct.files[:3], port) == [0, 0, 0]
    assert lost and len(list(folder.iterdir())) == 3


class Orthanc:
    """A running Orthanc with ports and a database of its own, and no other configuration than this."""

    def __init__(self, folder: Path):
        self.dicom_port, self.http_port = free_ports(2)
        config = {
            **{"Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")},
            **{"DicomPort": self.dicom_port, "HttpPort": self.http_port, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": False, "DicomAlwaysAllowStore": True},
            **{"Plugins": [str(DICOMWEB)] if DICOMWEB.is_file() else []},
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [program("Orthanc", "orthanc"), str(folder / "orthanc.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = []
        for line in self.process.stderr:
            log.append(line)
            if "Orthanc has started" in line:
                break
        else:
            pytest.fail("Orthanc did not start:\n" + "".join(log[-5:]))
        # What it says later must not fill the pipe and halt it.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def get(self, path: str, method: str = "GET", **headers) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            # A multipart answer cannot be told apart without its boundary.
            head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode() if headers else b""
            return head + answer.read()

    def list(self, path: str) -> list:
        return json.loads(self.get(path))

    def retrieved(self, study_uid: str, series_uid: str, folder: Path) -> Path:
        """A new folder with a series, by WADO-RS (PS3.18)."""
        answer = self.get(
            f"/dicom-web/studies/{study_uid}/series/{series_uid}",
            Accept='multipart/related; type="application/dicom"; transfer-syntax=*',
        )
        (folder / series_uid).mkdir()
        for number, item in enumerate(email.message_from_bytes(answer).get_payload()):
            (folder / series_uid / f"{number}.dcm").write_bytes(item.get_payload(decode=True))
        return folder / series_uid

    def empty(self) -> None:
        for patient in self.list("/patients"):
            self.get(f"/patients/{patient}", "DELETE")

    def end(self) -> None:
        # Its database goes with the test's folder, so that nothing has to be saved.
        self.process.kill()
        self.process.wait(timeout=60)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def running_orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.end()


@pytest.fixture
def orthanc(running_orthanc):
    """An empty archive."""
    running_orthanc.empty()
    return running_orthanc


def assert_is_the_result(folder: Path, scan: Scan) -> None:
    back = read_volume(folder)
    np.testing.assert_array_equal(back.array, scan.result.volume.array)
    np.testing.assert_allclose(back.ijk_to_ras, scan.result.volume.ijk_to_ras, atol=1e-5)


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
    assert ours["MainDicomTags"]["SeriesDescription"].startswith("Routine 4.0 1.5 mm CycleINR")
    assert len(ours["Instances"]) == len(written.files)
    (tmp_path / "back").mkdir()
    for instance in ours["Instances"]:
        (tmp_path / "back" / f"{instance}.dcm").write_bytes(orthanc.get(f"/instances/{instance}/file"))
    assert_is_the_result(tmp_path / "back", scan)


def test_tilted_uneven_and_padded_series_come_back_by_dicomweb(odd, write, orthanc, tmp_path):
    dicomweb_plugin()
    written = write(odd)
    assert set(send(written.files, orthanc.dicom_port)) == {0}
    (study,) = orthanc.list("/dicom-web/studies")
    assert_is_the_result(orthanc.retrieved(study["0020000D"]["Value"][0], written.series_uid, tmp_path), odd)


@pytest.mark.parametrize("multi_frame", [False, True])
def test_results_of_enhanced_scans_come_back_by_dicomweb(enhanced, multi_frame, write, orthanc, tmp_path):
    dicomweb_plugin()
    written = write(enhanced, DicomSettings(multi_frame=multi_frame))
    assert set(send(written.files, orthanc.dicom_port)) == {0}
    (study,) = orthanc.list("/dicom-web/studies")
    assert_is_the_result(orthanc.retrieved(study["0020000D"]["Value"][0], written.series_uid, tmp_path), enhanced)


def test_dicomweb_finds_two_results_of_one_source_and_gives_them_back(ct, write, orthanc, tmp_path):
    """QIDO-RS and WADO-RS (PS3.18), which viewers in browsers use."""
    dicomweb_plugin()
    plain, packed = write(ct, folder="plain"), write(ct, DicomSettings(compress=True), folder="packed")
    assert set(send([*ct.files, *plain.files, *packed.files], orthanc.dicom_port)) == {0}

    (study,) = orthanc.list("/dicom-web/studies")
    study_uid = study["0020000D"]["Value"][0]
    found = orthanc.list(f"/dicom-web/studies/{study_uid}/series?includefield=0008103E")
    listed = {s["0020000E"]["Value"][0]: (s["00200011"]["Value"][0], s["0008103E"]["Value"][0]) for s in found}

    # What an archive's list shows tells all three apart.
    assert set(listed) >= {plain.series_uid, packed.series_uid} and len(set(listed.values())) == 3
    for one in (plain, packed):
        assert_is_the_result(orthanc.retrieved(study_uid, one.series_uid, tmp_path), ct)
