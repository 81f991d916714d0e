"""``SampleData``: sources are recorded, and loaded where their URI is a local file; nothing is downloaded."""

from urllib.parse import urlparse
from urllib.request import url2pathname

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
        """Load the files of ``source``; a URI that is no local file fails."""
        if source.customDownloader is not None:
            return source.customDownloader(source)
        nodes = []
        for uri, node_name in zip(source.uris, source.nodeNames, strict=True):
            parts = urlparse(uri)
            if parts.scheme != "file":
                raise RuntimeError(f"the test host downloads nothing: {uri}")
            properties = {**source.loadFileProperties, **({"name": node_name} if node_name else {})}
            nodes.append(slicer.util.loadVolume(url2pathname(parts.path), properties))
        return nodes


def downloadSample(sampleName):
    return SampleDataLogic().downloadSample(sampleName)
