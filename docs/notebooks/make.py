"""Write the notebooks from the cells below, without output: `python docs/notebooks/make.py`."""

import json
from pathlib import Path

SHOW = """import matplotlib.pyplot as plt
import torch

import pnp


def show(**pictures):
    _, axes = plt.subplots(1, len(pictures), figsize=(3 * len(pictures), 3.2))
    for axis, (title, x) in zip(axes, pictures.items(), strict=True):
        axis.imshow(x[0].permute(1, 2, 0).clamp(0, 1), cmap="gray")
        axis.set_title(title)
        axis.axis("off")
"""

NOTEBOOKS = {
    "first_picture": [
        "# Restore a picture\nBlur a photograph, restore it, and look at what pnp chose.",
        SHOW,
        'photo = pnp.samples.photograph("camera")[..., 100:228, 160:288]\n'
        "camera = pnp.operators.ValidBlur(pnp.operators.kernels.motion(length=9, angle=30))\n"
        "y = camera(photo)\ny = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))",
        "`pnp.restore` estimates the noise, takes the parameters from its table, and judges the result.",
        'done = pnp.restore(y, operator=camera, prior="unet", truth=camera.visible(photo))\n'
        "show(blurred=y, restored=done.restored, truth=camera.visible(photo))",
        "done.record.metrics, done.record.sigma, done.record.lam, done.record.verdict",
        'assert done.record.metrics["psnr"][0] > done.record.metrics["psnr_initial"][0] + 3',
    ],
    "swap_the_parts": [
        "# Swap the parts\nAn operator, a noise, a prior and a solver: change one, keep the others.",
        SHOW,
        'photo = pnp.samples.photograph("camera")[..., 100:196, 160:256]\n'
        "blur = pnp.operators.Blur(pnp.operators.kernels.gaussian(1.2))\n"
        "y = blur(photo) + 0.01 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))",
        "The prior changes:",
        "found = {}\n"
        'for prior in ("tv", "wavelet", "unet"):\n'
        "    found[prior] = pnp.restore(y, operator=blur, prior=prior, sigma=0.01).restored\n"
        "show(blurred=y, **found)\n"
        "{name: round(pnp.metrics.psnr(x, photo).item(), 2) for name, x in found.items()}",
        "The solver changes; the minimum of a convex problem stays.",
        "problem = pnp.Problem(blur, y, pnp.priors.TV(), sigma=0.01, lam=12.0)\n"
        "ends = [pnp.solve(problem, s, iterations=200).x for s in (pnp.solvers.ADMM(), pnp.solvers.FISTA())]\n"
        "assert (ends[0] - ends[1]).abs().max() < 0.05",
        "Your own denoiser is a prior, too:",
        "def median(x, sigma):\n"
        "    return torch.nn.functional.unfold(x, 3, padding=1).median(1).values.view_as(x)\n\n\n"
        "result = pnp.solve(pnp.Problem(blur, y, pnp.priors.PnP(median), sigma=0.01, lam=0.5),"
        " pnp.solvers.HQS(iterations=10))\n"
        "show(blurred=y, restored=result.x)",
    ],
    "kernels_nobody_knows": [
        "# Kernels that nobody knows\nA question mark in place of a number.",
        SHOW,
        'photo = pnp.samples.photograph("coffee")[..., 60:230, 200:370]\n'
        "lens = pnp.operators.ValidBlur(pnp.operators.kernels.disk(3.0))\n"
        "y = lens(photo)\ny = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))",
        'done = pnp.restore(y, operator="blur:kernel=disk,radius=?", prior="unet", truth=lens.visible(photo))\n'
        "show(blurred=y, restored=done.restored, truth=lens.visible(photo))",
        "done.record.kernel, done.record.metrics, done.record.verdict",
        'assert abs(done.record.kernel["radius"] - 3) < 0.5',
    ],
}  # Markdown and code in turn: what begins with # or a capital letter is Markdown


def cell(text: str, number: int) -> dict:
    markdown = text[0] in "#`" or (text[0].isupper() and "\n" not in text and "=" not in text)
    kind = {"cell_type": "markdown"} if markdown else {"cell_type": "code", "execution_count": None, "outputs": []}
    return {**kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}


for name, texts in NOTEBOOKS.items():
    notebook = {
        "cells": [cell(text, k) for k, text in enumerate(texts)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = Path(__file__).parent / f"{name}.ipynb"
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
