"""Network architectures: each an nn.Module N(x, sigma) that estimates the noise in x."""

from .dncnn import DnCNN
from .unet import UNet

ARCHITECTURES = {"unet": UNet, "dncnn": DnCNN}

__all__ = ["ARCHITECTURES", "DnCNN", "UNet"]
