"""Pictures side by side, for the scripts of this folder."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
from torch import Tensor


def side_by_side(pictures: dict[str, Tensor], width: float = 3.0) -> None:
    """A row of pictures (1, C, H, W) with their titles; [0, 1] is black to white."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(width * len(pictures), width + 0.4), squeeze=False)
    for axis, (title, x) in zip(axes[0], pictures.items(), strict=True):
        axis.imshow(x[0].detach().permute(1, 2, 0).clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.tight_layout()
    shown()


def curves(lines: dict[str, list[float]], x: str, y: str) -> None:
    """Lines by name: a value for each iteration, on a logarithmic axis."""
    figure, axis = plt.subplots(figsize=(6, 3.5))
    for name, values in lines.items():
        axis.semilogy(range(1, len(values) + 1), values, label=name)
    axis.set(xlabel=x, ylabel=y)
    axis.legend(fontsize=8)
    figure.tight_layout()
    shown()


def shown() -> None:
    """Open the window, where there is a display."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plt.show()
