"""What `pnp show` draws: an operator at work, a denoiser at work, and the parts of a network that can be read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..files.atomic import atomic
from ..files.pictures import check_target
from ..metrics import psnr
from ..operators import kernels
from ..priors.nets import Network
from ..priors.network import networks
from ..registry import DENOISERS, OPERATORS
from ..samples import photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
ROW = 24  # filters side by side


def operator_figure(spec: str) -> Figure:
    """The photograph before and after the operator, as a person would look at it, and the kernel."""
    x = photograph("camera")[..., ::2, ::2]
    operator = OPERATORS.build(spec, shape=tuple(x.shape[1:]), seed=0)
    y = operator(x)
    kernel = kernels.of(operator)
    figure = _pictures(spec, {"picture": x, "measurement": y if min(y.shape[-2:]) > 1 else operator.initial(y)})
    if kernel is not None:
        axis = figure.add_subplot(1, 3, 3)
        axis.imshow(kernel[0].numpy(), cmap="magma")
        axis.set_title(f"kernel, {kernel.shape[-2]}×{kernel.shape[-1]}")
    return figure


def denoiser_figure(spec: str, sigma: float = 25 / 255) -> Figure:
    """The photograph with noise, and what the denoiser makes of it; as three equal channels if it takes only those."""
    x = photograph("camera")[..., ::2, ::2]
    denoiser = DENOISERS.build(spec, shape=tuple(x.shape[1:]))
    x = x.repeat(1, min((net.channels for net in networks(denoiser)), default=1), 1, 1)
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    restored = denoiser(y, sigma)
    panels = {"picture": x, f"noise {255 * sigma:.0f}/255": y, "denoised": restored}
    titles = {f"{k}, {float(psnr(v, x)):.2f} dB" if v is not x else k: v for k, v in panels.items()}
    return _pictures(spec, titles)


def parts_figure(net: Network, sigma: float = 25 / 255) -> Figure:
    """Every filter that a network can show and, below it, the function that belongs to it (`Network.parts`)."""
    said, rows = net.parts(sigma)
    width = min(max(len(row.kernels) for row in rows), ROW)
    bands = [[(row, at) for at in torch.arange(len(row.kernels)).split(ROW)] for row in rows]
    count = sum(map(len, bands))
    figure = _figure(max(5, 1 + 0.6 * width), 1.3 * count + 0.4)
    axes = iter(figure.subplots(2 * count, 1, squeeze=False)[:, 0])
    for row, at in itertools.chain(*bands):
        height = float(row.functions.abs().max()) or 1.0
        top, bottom = next(axes), next(axes)
        _filters(top, row.kernels[at])
        _functions(bottom, row.functions[at], height)
        top.set_xlim(0, width)
        bottom.set_xlim(0, width)
        top.set_ylabel(row.label, fontsize=7)
        bottom.set_ylabel(f"±{height:.1f}", fontsize=6)
    figure.suptitle(f"{net.title()}: {said}", fontsize=9)
    return figure


def _filters(axis: Any, kernels: Tensor) -> None:
    """Kernels (n, s, s) side by side, each on a scale of its own."""
    cells = [pad(k / k.abs().max(), (0, 1), value=torch.nan) for k in kernels]
    row, extent = torch.cat(cells, 1).numpy(), (0, len(cells), 0, 1)
    axis.imshow(row, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto", extent=extent)
    axis.set(xticks=[], yticks=[])


def _functions(axis: Any, values: Tensor, height: float) -> None:
    """Functions (n, points) side by side, below the filters that they belong to."""
    place = torch.linspace(0, 0.84, values.shape[1])
    starts = torch.arange(len(values))
    axis.plot((place[:, None] + starts).numpy(), values.T.numpy(), color="C0", linewidth=0.9)
    axis.axhline(0, color="0.7", linewidth=0.5)
    axis.set(ylim=(-height, height), xticks=[], yticks=[])


def facts(net: nn.Module, record: Mapping[str, Any] | None) -> dict[str, str]:
    """What is known of a network: its size, cost and reach, and the record of its weights, if there is one."""
    from torch.utils.flop_counter import FlopCounterMode

    side, channels = 128, int(net.channels)  # type: ignore[arg-type]
    x = torch.zeros(1, channels, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x, 0.1)
    return {
        "parameters": f"{sum(p.numel() for p in net.parameters()):,}",
        "multiply-adds": f"{counter.get_total_flops() / 2 / side**2:,.0f} a pixel",
        "receptive field": f"{2 * net.receptive_radius() + 1} pixels",  # type: ignore[operator]
        **({"record": "none"} if record is None else _recorded(record)),
    }


def _recorded(record: Mapping[str, Any]) -> dict[str, str]:
    known = {key: str(record[key]) for key in ("data", "licence", "steps", "date", "psnr", "sha256") if key in record}
    if "sigma" not in record:
        return known
    low, high = record["sigma"]
    levels = f"{255 * high:.0f}/255" if low == high else f"{255 * low:.0f}/255 to {255 * high:.0f}/255"
    return {"noise levels": levels, **known}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, PDF or SVG, by its name.  Raises ValueError for another."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"unknown figure format {path.suffix or path}; expected {', '.join(FORMATS)}.")
    check_target(path)
    with atomic(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=110)


def show(figure: Figure) -> None:
    """Open a window and wait until it is closed.  Raises RuntimeError where there is no display."""
    import matplotlib
    from matplotlib import pyplot

    if matplotlib.get_backend().lower() == "agg":
        raise RuntimeError("there is no display to open a window on; give -o figure.png.")
    manager = pyplot.figure().canvas.manager
    assert manager is not None
    manager.canvas.figure = figure
    figure.set_canvas(manager.canvas)
    pyplot.show()


def _pictures(title: str, panels: dict[str, Tensor]) -> Figure:
    figure = _figure(9, 3.4)
    for i, (name, shown) in enumerate(panels.items()):
        axis = figure.add_subplot(1, 3, i + 1)
        axis.imshow(shown[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set_title(name)
        axis.set_axis_off()
    figure.suptitle(title)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
