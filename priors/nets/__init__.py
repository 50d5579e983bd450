"""Network architectures: trainable ones, N(x, sigma) that estimates the noise in x, and untrained ones, N(z)."""

from typing import Any

from .base import AsUntrained, Network, Untrained
from .convdecoder import ConvDecoder
from .decoder import Decoder
from .dncnn import DnCNN
from .drunet import DRUNet
from .hourglass import Hourglass
from .mixture import PatchMixture
from .motion import Motion
from .text import Text
from .trd import TRD
from .unet import UNet
from .wcrr import WCRR

ARCHITECTURES: dict[str, Any] = {
    "unet": UNet,
    "dncnn": DnCNN,
    "drunet": DRUNet,
    "trd": TRD,
    "text": Text,
    "motion": Motion,
    "epll": PatchMixture,
    "wcrr": WCRR,
}
UNTRAINED: dict[str, Any] = {  # fitted to one picture each, by `dip`
    "convdecoder": ConvDecoder,
    "hourglass": Hourglass,
    "decoder": Decoder,
}

__all__ = [
    "ARCHITECTURES",
    "TRD",
    "UNTRAINED",
    "WCRR",
    "AsUntrained",
    "ConvDecoder",
    "DRUNet",
    "Decoder",
    "DnCNN",
    "Hourglass",
    "Motion",
    "Network",
    "PatchMixture",
    "Text",
    "UNet",
    "Untrained",
]
