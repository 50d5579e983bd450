"""Network architectures: each an nn.Module N(x, sigma) that estimates the noise in x."""

from typing import Any

from .dncnn import DnCNN
from .drunet import DRUNet
from .trd import TRD
from .unet import UNet

ARCHITECTURES: dict[str, Any] = {"unet": UNet, "dncnn": DnCNN, "drunet": DRUNet, "trd": TRD}

__all__ = ["ARCHITECTURES", "TRD", "DRUNet", "DnCNN", "UNet"]
