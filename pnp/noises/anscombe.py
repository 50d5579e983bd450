"""Noise that grows with brightness, made even: the generalised Anscombe transform."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROOT = 1.5**0.5
LEAST = 0.5  # of a transformed value: below it the series of the inverse runs away


class Stabiliser(NamedTuple):
    """The map from pictures with noise of variance gain · (x − black) + read² to pictures with white noise.

        f(y)  = 2 √((y − black)/gain + 3/8 + (read/gain)²)      noise of std 1, nearly, from 2 counts on
        z     = (f(y) − low)/(high − low)                       from 0 to 1, noise of std `sigma`
        x     = black + gain (D²/4 + √1.5/(4 D) − 11/(8 D²) + 5 √1.5/(8 D³) − 1/8 − (read/gain)²)₊

    with D = f of a denoised z.  The way back is not f⁻¹: a denoiser gives E f(y), and what has that mean is a little
    brighter than f⁻¹ says.  gain, read, black, low, high: (B, 1, 1, 1); gain > 0.
    Murtagh, Starck & Bijaoui 1995 for f; Mäkitalo & Foi 2011 and 2013 for the way back.
    """

    gain: Tensor
    read: Tensor
    black: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, y: Tensor, gain: Tensor, read: Tensor, black: Tensor) -> Stabiliser:
        """For pictures y (B, C, H, W): the darkest and the brightest value of each become 0 and 1."""
        gain, read, black = (v.to(y).view(-1, 1, 1, 1).expand(len(y), 1, 1, 1) for v in (gain, read, black))
        f = _root(y - black, gain, read)
        low, high = (v.view(-1, 1, 1, 1) for v in (f.flatten(1).amin(1), f.flatten(1).amax(1)))
        return cls(gain, read, black, low, torch.maximum(high, low + 1e-6))

    @property
    def sigma(self) -> Tensor:
        """The std of the noise in z, (B, 1, 1, 1)."""
        return 1 / (self.high - self.low)

    def decode(self, y: Tensor) -> Tensor:
        """z of a noisy picture."""
        return (_root(y - self.black, self.gain, self.read) - self.low) / (self.high - self.low)

    def encode(self, z: Tensor) -> Tensor:
        """x of a picture z without noise."""
        d = (z * (self.high - self.low) + self.low).clamp_min(LEAST)
        counts = d.square() / 4 + ROOT / (4 * d) - 11 / (8 * d.square()) + 5 * ROOT / (8 * d**3) - 1 / 8
        return self.black + self.gain * (counts - (self.read / self.gain).square()).clamp_min(0)


def _root(light: Tensor, gain: Tensor, read: Tensor) -> Tensor:
    return 2 * (light / gain + 3 / 8 + (read / gain).square()).clamp_min(0).sqrt()
