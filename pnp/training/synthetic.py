"""Rendered pictures to learn from: dead leaves, drawings and text, each from its number."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .drawings import drawing, vivid
from .leaves import leaves
from .pages import Printer, installed

STOCK = 1024  # different pictures of a run; each is made when it is first asked for, and kept
CHANCES = {"leaves": 0.5, "drawings": 0.25, "text": 0.25}


class Scenes:
    """Pictures by number, side × side; a number gives the same picture whenever, and in whatever order, it is asked.

    photographs: uint8 (C, H, W), whose colours the leaves have.  printer: of text; None where there is no font.
    stream: another one has other pictures.
    """

    def __init__(self, photographs: list[Tensor], printer: Printer | None, side: int, stream: int = 0) -> None:
        self.photographs, self.printer, self.side, self.stream = photographs, printer, side, stream
        self.channels, self.stock = len(photographs[0]), STOCK
        self.made: dict[int, Tensor] = {}

    def __getitem__(self, number: int) -> Tensor:
        """uint8 (C, side, side)."""
        if number not in self.made:
            rng = np.random.default_rng([self.stream, number])
            names = [name for name in CHANCES if name != "text" or self.printer]
            weights = np.array([CHANCES[name] for name in names])
            self.made[number] = self.of(str(rng.choice(names, p=weights / weights.sum())), rng)
        return self.made[number]

    def of(self, kind: str, rng: np.random.Generator) -> Tensor:
        """uint8 (C, side, side) of one kind: leaves, drawings or text."""
        if kind == "leaves":
            return self._tensor(leaves(self.side, self._colours(rng), rng))
        if kind == "drawings":
            canvas = drawing(self.side, rng, [file for file, _ in self.printer.fonts] if self.printer else [])
            return self._tensor(np.asarray(canvas if self.channels == 3 else canvas.convert("L")))
        if self.printer is None:
            raise ValueError("text needs a font; none is installed.")
        return self._tensor(written(self.side, self.printer, self.channels, rng))

    def _colours(self, rng: np.random.Generator) -> np.ndarray:
        """uint8 (n, C): those of pixels of one photograph."""
        photograph = self.photographs[rng.integers(len(self.photographs))].flatten(1)
        return photograph[:, torch.from_numpy(rng.integers(photograph.shape[1], size=2048))].T.numpy()

    @staticmethod
    def _tensor(pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(np.atleast_3d(pixels).copy()).permute(2, 0, 1).contiguous()


def written(side: int, printer: Printer, channels: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (side, side, C): a page as printed or in two colours; half of the pages are reduced twofold."""
    scale = int(rng.integers(1, 3))
    page = printer.page(scale * side, rng)[0].numpy()[..., None]
    if rng.random() < 0.5 and channels == 3:
        t = (page - page.min()) / max(float(np.ptp(page)), 1e-3)
        ends = rng.permutation([0, 255])
        a, b = (np.array(vivid(rng) if rng.random() < 0.6 else 3 * [end]) / 255 for end in ends)
        page = a + (b - a) * t
    pixels = (255 * np.broadcast_to(page, (*page.shape[:2], channels)) + 0.5).astype(np.uint8)
    image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
    return np.asarray(image.reduce(scale) if scale > 1 else image)


def printers() -> tuple[Printer | None, Printer | None]:
    """Of the fonts on this machine: three of four to train with, the others to judge with; None without one."""
    fonts = installed()
    if not fonts:
        warnings.warn("no font is installed, so no text is rendered. On Debian: apt install fonts-dejavu", stacklevel=2)
        return None, None
    judging = fonts[3::4] or fonts
    return _printer([f for f in fonts if f not in judging] or fonts), _printer(judging)


def _printer(files: list[Path]) -> Printer | None:
    try:
        return Printer(files)
    except ValueError:  # fonts of signs alone
        return None
