"""``SampleData``: sources are recorded, and loaded through the cache where their URI is a local file."""

import hashlib
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlretrieve

import slicer


def _as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


class SampleDataSource:
    """One sample data set; the fields with an entry per file are lists of equal length."""

    def __init__(
        self, sampleName=None, sampleDescription=None, uris=None, fileNames=None, nodeNames=None, checksums=None,
        loadFiles=None, customDownloader=None, thumbnailFileName=None, loadFileTypes=None, loadFileProperties=None,
    ):  # fmt: skip
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        self.uris = _as_list(uris)
        self.fileNames = self._per_file(fileNames, "fileNames")
        self.nodeNames = self._per_file(nodeNames, "nodeNames")
        self.checksums = self._per_file(checksums, "checksums")
        self.loadFiles = self._per_file(loadFiles, "loadFiles")
        self.loadFileTypes = self._per_file(loadFileTypes, "loadFileTypes")

    def _per_file(self, values, name):
        values = [None] * len(self.uris) if values is None else _as_list(values)
        if len(values) != len(self.uris):
            raise ValueError(f"{name} has {len(values)} entries for {len(self.uris)} URIs")
        return values


class SampleDataLogic:
    @staticmethod
    def registerCustomSampleDataSource(category="Custom", **source):
        """Add a data set, once, to ``slicer.modules.sampleDataSources[category]``."""
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        registered = slicer.modules.sampleDataSources.setdefault(category, [])
        new = SampleDataSource(**source)
        if not any(vars(known) == vars(new) for known in registered):
            registered.append(new)

    @staticmethod
    def sourceForSampleName(sampleName):
        for sources in getattr(slicer.modules, "sampleDataSources", {}).values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def downloadSample(self, sampleName):
        """Load the first node of a registered data set."""
        return self.downloadFromSource(self.sourceForSampleName(sampleName))[0]

    def downloadSamples(self, sampleName):
        return self.downloadFromSource(self.sourceForSampleName(sampleName))

    def downloadFromSource(self, source):
        """Load the files of ``source``."""
        if source.customDownloader is not None:
            return source.customDownloader(source)
        nodes = []
        for uri, name, node_name, checksum in zip(
            source.uris, source.fileNames, source.nodeNames, source.checksums, strict=True
        ):
            path = self.downloadFileIntoCache(uri, name or Path(urlparse(uri).path).name, checksum)
            properties = {**source.loadFileProperties, **({"name": node_name} if node_name else {})}
            nodes.append(slicer.util.loadVolume(path, properties))
        return nodes

    def downloadFileIntoCache(self, uri, name, checksum=None, forceDownload=False):
        """Copy a ``file:`` URI into the scene's cache; a copy that is there stays, unless its checksum is another one.

        Raises:
            ValueError: The URI cannot be read. (Slicer's ``downloadFromSource`` logs it and loads nothing.)
        """
        if urlparse(uri).scheme != "file":
            raise RuntimeError(f"the test host downloads nothing: {uri}")
        path = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory(), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if forceDownload or not path.exists() or not _has_checksum(path, checksum):
            try:
                urlretrieve(uri, path)
            except OSError as error:
                raise ValueError(f"Failed to download {uri} to {path}") from error
            if not _has_checksum(path, checksum):
                path.unlink()
        return str(path)


def _has_checksum(path, checksum):
    """Whether a file has a checksum such as ``SHA256:00ff...``; None fits every file."""
    if checksum is None:
        return True
    algorithm, digest = checksum.split(":")
    return hashlib.new(algorithm.lower(), path.read_bytes()).hexdigest() == digest


def downloadSample(sampleName):
    return SampleDataLogic().downloadSample(sampleName)
