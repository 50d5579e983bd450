"""Stripes: an offset of its own for each column, or each row, as scanners and the read-out of sensors leave it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BANDS = 8  # of rows, each of which sees the offsets by itself
LEAST = 64, 32  # rows and columns of a picture that can tell: fewer rows leave a median to chance
ROWS = 2048  # that are looked at: more cost time and gain nothing
AGREE = 0.28  # stripes of std 0.03 in photographs: 0.55 to 0.9; 1452 directions of 726 photographs: below 0.23
# of the power in STRETCH columns, at one frequency: of chance offsets, about 0.13; of a fence, a grating or a ramp more
STRETCH, REGULAR = 64, 0.25
DENSE = 0.35  # median of |steps| over their rms: chance offsets have 0.67, bars and lines few and large steps
WEAKEST, STRONGEST = 0.0015, 0.12  # std, image units: what rounding to 8 bits makes of a ramp; what is picture for sure


class Stripes(NamedTuple):
    """What stripes have added to a picture y: y − columns − rows is without them.

    columns: (B, C, 1, W); rows: (B, C, H, 1); image units, 0 where none were found.
    """

    columns: Tensor
    rows: Tensor

    def std(self) -> dict[str, float]:
        """The standard deviations of the offsets that were found, over the channels that have some, by name."""
        found = {}
        for name, offsets in self._asdict().items():
            seen = offsets.flatten(2)[offsets.flatten(2).abs().sum(2) > 0]
            if len(seen):
                found[name] = float(seen.square().mean().sqrt())
        return found

    def without(self, y: Tensor) -> Tensor:
        """y less the offsets.  Samples at black or white stay there if y goes no further: they were clipped."""
        ends = ((y <= 0) & (y.amin() >= 0)) | ((y >= 1) & (y.amax() <= 1))
        return torch.where(ends, y, y - self.columns - self.rows)


def find_stripes(y: Tensor, known: Tensor | None = None) -> Stripes | None:
    """The offsets o of  y_ij = picture_ij + o_j + noise_ij, and those of the rows; None where none are found.

        D_bj   = median over the rows i of band b of  2 y_ij − y_i,j−1 − y_i,j+1           (8 bands from top to bottom)
        agree  = (mean over j of (Σ_b sgn D_bj)² − Σ_b (sgn D_bj)²)/(8² − 8)   1: all bands see the same; 0: chance
        D_j    = median over all i of y_i,j+1 − y_ij,   v_j its variance, by the spread over the bands
        o      = argmin Σ_j (o_j+1 − o_j − D_j)²/v_j + Σ_j o_j²/s²,    2 s² = mean of D_j² − v_j

    An edge of the picture is seen by some columns and by some bands.  Stripes are where all columns and all bands
    agree, where the offsets are not those of a fence or a grating (`REGULAR`), and of a likely strength.  Each channel
    is looked at by itself, columns before rows.  Offsets that vary slowly, over tens of columns, cannot be told from
    the picture's own light and shade: they stay.

    y: (B, C, H, W), image units; known: 1 where y was measured, None for all.  Smaller than 64 × 64: None.
    `benchmarks/stripes.py` counts false alarms.
    """
    if y.ndim != 4:
        return None
    pixels = y.detach().to("cpu", torch.float64).numpy().copy()
    if known is not None:
        pixels[np.broadcast_to(known.cpu().numpy() == 0, pixels.shape)] = np.nan
    columns = np.stack([[_offsets(plane) for plane in image] for image in pixels])[:, :, None, :]
    pixels = pixels - columns
    rows = np.stack([[_offsets(plane.T) for plane in image] for image in pixels])[:, :, :, None]
    if not (columns.any() or rows.any()):
        return None
    return Stripes(torch.from_numpy(columns).to(y), torch.from_numpy(rows).to(y))


def _offsets(y: np.ndarray) -> np.ndarray:
    """The offsets of the columns of one plane (H, W), of mean 0; all 0 where there are none."""
    none = np.zeros(y.shape[1])
    if y.shape[0] < LEAST[0] or y.shape[1] < LEAST[1]:
        return none
    y = y[:: -(-len(y) // ROWS)]
    if _agreement(y) < AGREE:
        return none
    offsets = _estimated(y)
    return offsets if WEAKEST < offsets.std() < STRONGEST and _by_chance(offsets) else none


def _by_chance(offsets: np.ndarray) -> bool:
    """Whether offsets (W,) may be the read-out's: neither regular nor smooth, and different in most columns."""
    steps = np.abs(np.diff(offsets))
    side = min(STRETCH, len(offsets))
    power = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(offsets, side)[:: side // 2])) ** 2
    regular = float(np.mean(power[:, 1:].max(1) / power[:, 1:].sum(1).clip(1e-30)))
    return regular < REGULAR and float(np.median(steps)) > DENSE * float(np.sqrt(np.mean(steps**2)))


def _agreement(y: np.ndarray) -> float:
    """`agree` of `find_stripes`."""
    signs = np.sign(_medians(2 * y[:, 1:-1] - y[:, :-2] - y[:, 2:]))  # (BANDS, W − 2)
    return float(np.mean(signs.sum(0) ** 2 - (signs**2).sum(0)) / (BANDS**2 - BANDS))


def _estimated(y: np.ndarray) -> np.ndarray:
    """o of `find_stripes`."""
    from scipy.linalg import solveh_banded

    steps = y[:, 1:] - y[:, :-1]
    each, step = _medians(steps), _median(steps)
    variance = each.var(0, ddof=1) / BANDS
    variance = np.convolve(np.pad(variance, 4, mode="reflect"), np.full(9, 1 / 9), "valid") + 1e-9
    strength = max(float(np.mean(step**2 - variance)) / 2, 1e-9)
    weight = 1 / variance
    bands = np.zeros((2, y.shape[1]))  # the upper form of a symmetric tridiagonal matrix
    bands[0, 1:] = -weight
    bands[1] = 1 / strength + np.pad(weight, (0, 1)) + np.pad(weight, (1, 0))
    pulled = weight * step
    offsets = np.asarray(solveh_banded(bands, np.pad(pulled, (1, 0)) - np.pad(pulled, (0, 1))))
    return offsets - offsets.mean()


def _medians(d: np.ndarray) -> np.ndarray:
    """The medians of the columns of d (H, W) in each band of rows, (BANDS, W)."""
    return np.stack([_median(band) for band in np.array_split(d, BANDS)])


def _median(d: np.ndarray) -> np.ndarray:
    """The medians of the columns of d (H, W), of what is not nan; 0 where there is nothing."""
    if not np.isnan(d).any():
        return np.asarray(np.median(d, 0))
    ordered, n = np.sort(d, 0), np.isfinite(d).sum(0)  # nan goes to the end
    low, high = (np.take_along_axis(ordered, i[None], 0)[0] for i in (np.maximum(n - 1, 0) // 2, n // 2 % len(d)))
    return np.where(n > 0, (low + high) / 2, 0.0)
