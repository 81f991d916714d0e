"""Texts and names that the module shows before its panel is built."""

from slicer.i18n import tr as _

SAMPLE_FILE = "ct_head_5mm.nii.gz"
SAMPLE_CHECKSUM = "SHA256:8e520256a45329b06fd35aede5b4309d82cabfe8c0692838e3d26d84050f36fa"
"""Without it Sample Data would go on with the copy that an older version left in its cache."""

SAMPLE_NAME = "CycleINR head CT 5 mm"


def helpText() -> str:
    return _(
        "Computes finer slices of a thick-slice CT or MR scan, at any spacing, for review in axial, coronal and "
        "sagittal planes. Choose the scan and the spacing, and press Apply. The result agrees with the acquired slices "
        "as far as their profile is known. <b>Results are derived, not acquired; not for primary diagnosis.</b>"
    )


def acknowledgementText() -> str:
    return _(
        "Method: CycleINR, Cycle Implicit Neural Representation for Arbitrary-Scale Volumetric Super-Resolution of "
        "Medical Data, CVPR 2024 (arXiv 2404.04878). This is an independent implementation; the model cards name the "
        "training data and their licences."
    )
