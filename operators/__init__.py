"""Linear operators: what the camera did."""

from . import fields, kernels, sampling, varying_files
from .base import Operator, dot_test
from .blur import Blur
from .borders import PaddedBlur, ValidBlur
from .compose import Composition, FromCallables, Identity, Undescribed
from .convolve import ConvolveWith
from .mask import Mask, Masked
from .mosaic import Mosaic
from .sensing import BlockSensing, DenseSensing, OrthonormalSensing, StructuredSensing
from .varying import Varying

__all__ = [
    "BlockSensing",
    "Blur",
    "Composition",
    "ConvolveWith",
    "DenseSensing",
    "FromCallables",
    "Identity",
    "Mask",
    "Masked",
    "Mosaic",
    "Operator",
    "OrthonormalSensing",
    "PaddedBlur",
    "StructuredSensing",
    "Undescribed",
    "ValidBlur",
    "Varying",
    "dot_test",
    "fields",
    "kernels",
    "sampling",
    "varying_files",
]
