"""Networks that restore a measurement in one call, told neither the operator nor the noise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import Choice, Precision
from ..registry import PRIORS
from .base import Prior
from .network import NetworkDenoiser, from_file, shipped


class Direct(Prior):
    """R(y): a picture from its measurement in one call, by a network that was trained on whole degradations.

    y: (B, C, H, W), in image units; a network for one channel takes each channel by itself.
    """

    kind = "direct"

    def __init__(self, network: NetworkDenoiser) -> None:
        if not network.net.direct:
            raise TypeError(f"{network.net.title()} restores nothing by itself: it is a denoiser. Use it as a prior.")
        self.network = network

    @property
    def name(self) -> str:
        return f"Direct({self.network.net.title()})"

    def restore(self, y: Tensor) -> Tensor:
        return self.network(y, 0.0)

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.network.runs_in(device)


@PRIORS.register("text", cite=("hradis2015",))
def text(precision: Precision = "auto", weights: str | None = None) -> Prior:
    """A page of text made sharp, told neither its blur nor its noise: `--op unknown`.

    For shakes of up to 21 pixels and defocus of radius up to 5 or so, with letters 13 to 44 pixels high.
    weights: a file of `pnp train text` instead of the shipped ones.
    """
    return Direct(shipped("text-grey", precision) if weights is None else from_file(weights, "text", precision))
