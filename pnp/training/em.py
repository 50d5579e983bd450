"""Training of a mixture of Gaussians over patches: expectation-maximisation, a fresh batch at each step."""

from __future__ import annotations

import math
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import unfold

from ..files.pictures import crop_centre
from ..metrics import psnr
from ..priors.nets import Network, PatchMixture
from ..priors.patches import EPLL
from .learner import Learner
from .objectives import Denoising, Objective
from .objectives.denoising import JUDGED, by_origin
from .patches import PatchPool

if TYPE_CHECKING:
    from .run import TrainSettings

CROPS, SIDE, EACH = 512, 24, 40  # a step sees EACH patches from each of CROPS places in the pictures, SIDE² pixels
LEVEL_VARIANCE = (1 / 255) ** 2 / 12  # of rounding to 8 bits: no direction of a component has less
SPARE = 1e-6  # weight of the mean covariance in each: a component that lost all its patches becomes that
SMALL = 1e-3  # a responsibility below this counts as 0
BLOCK = 512  # patches at once: their products stay in the cache
STRIDE = 3  # between the patches of a picture that judges
CENTRE = 64  # side of the part of it that is denoised


class EM(Learner):
    """Stepwise EM for p(c) = Σ_k π_k N(c; 0, Σ_k), c the DCT of a patch without its mean; γ_t = (t + 2)^−0.7:

        r_ik ∝ π_k N(c_i; 0, Σ_k)
        s_k <- (1 − γ_t) s_k + γ_t mean_i r_ik
        S_k <- (1 − γ_t) S_k + γ_t mean_i r_ik c_i c_iᵀ
        π_k = s_k,  Σ_k = S_k/s_k + ε I,  ε the variance of rounding to 8 bits

    It begins with the covariance of the patches of one place for each component.
    weights: (K,), s;  moments: (K, D, D), S, float64.   Cappé & Moulines 2009; Zoran & Weiss 2011.
    """

    net: PatchMixture

    def __init__(self, net: PatchMixture, seed: int, given: bool = False) -> None:
        """given: begin with the mixture that `net` is, instead of a drawn one."""
        self.net, self.generator = net, torch.Generator().manual_seed(seed)
        self.weights = net.log_weights.detach().double().exp()
        axes, variances = net.axes.detach().double(), net.log_variances.detach().double().exp()
        self.moments = self.weights[:, None, None] * (
            axes.mT @ ((variances - LEVEL_VARIANCE).clamp_min(0)[..., None] * axes)
        )
        self.drawn = given

    @classmethod
    def start(cls, settings: TrainSettings, net: Network, device: torch.device, *, given: bool) -> EM:
        if not isinstance(net, PatchMixture):
            raise TypeError(f"net is a {type(net).__name__}; expected a PatchMixture.")
        return cls(net, settings.seed, given)

    @property
    def rate(self) -> float:  # type: ignore[override]
        """γ_t"""
        return (self.step + 2) ** -0.7

    def covariances(self) -> Tensor:
        """Σ, (K, D, D)."""
        mean = self.moments.sum(0) / self.weights.sum()
        shared = (self.moments + SPARE * mean) / (self.weights + SPARE)[:, None, None]
        return shared + LEVEL_VARIANCE * torch.eye(len(mean), dtype=mean.dtype)

    def advance(self, objective: Objective, progress: float) -> Tensor:
        pool = _photographs(objective).pool
        if not self.drawn:
            self._draw(pool)
        c = self._batch(pool)
        densities = log_densities(c, self.weights, self.covariances())
        evidence = densities.logsumexp(0)
        shares = (densities - evidence).exp_()
        shares.mul_(shares > SMALL).div_(shares.sum(0))
        gamma, n = self.rate, c.shape[1]
        self.weights = (1 - gamma) * self.weights + gamma * shares.double().sum(1) / n
        self.moments *= 1 - gamma
        for moment, share in zip(self.moments, shares, strict=True):
            members = share.nonzero()[:, 0]
            part = c[:, members] * share[members].sqrt()
            moment += gamma / n * (part @ part.T).double()
        self.step += 1
        return -evidence.mean()

    def judge(self, objective: Objective, last: bool) -> dict[str, Any]:
        """log p of a patch, the mean in nats; at the end the PSNR of EPLL in dB, too, at three noise levels."""
        origins = _photographs(objective).origins
        weights, covariances = self.weights, self.covariances()
        evidence = []
        for picture in chain(*origins.values()):
            c = self.net.coefficients(unfold(picture[None].float() / 255, self.net.size, stride=STRIDE)[0])
            evidence.append(float(log_densities(c, weights, covariances).logsumexp(0).mean()))
        found = {"log_likelihood": sum(evidence) / len(evidence)}
        return {**found, **self._gains(origins)} if last else found

    def finish(self) -> Network:
        variances, axes = torch.linalg.eigh(self.covariances())
        with torch.no_grad():
            self.net.log_weights.copy_(self.weights.clamp_min(1e-30).log())
            self.net.log_variances.copy_(variances.clamp_min(LEVEL_VARIANCE).log().flip(1))
            self.net.axes.copy_(axes.mT.flip(1))
        return self.net

    @classmethod
    def record(cls, settings: TrainSettings, net: Network) -> dict[str, Any]:
        return {"patches_a_step": CROPS * EACH}

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.weights,
            "moments": self.moments,
            "generator": self.generator.get_state(),
            "drawn": self.drawn,
            "step": self.step,
            "elapsed": self.elapsed,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.weights, self.moments, self.drawn = state["weights"], state["moments"], state["drawn"]
        self.step, self.elapsed = state["step"], state["elapsed"]

    def _draw(self, pool: PatchPool) -> None:
        """Each component from the patches of one place, all equally likely."""
        k = self.net.components
        places = pool.draw(k, SIDE, self.generator)
        c = torch.stack([self.net.coefficients(p) for p in unfold(places, self.net.size)]).double()  # (K, D, n)
        self.weights = torch.full((k,), 1 / k, dtype=torch.float64)
        own = c @ c.mT / c.shape[2]
        self.moments = (0.9 * own + 0.1 * own.mean(0)) / k
        self.drawn = True

    def _batch(self, pool: PatchPool) -> Tensor:
        """Coefficients of fresh patches, (D, n)."""
        patches = unfold(pool.draw(CROPS, SIDE, self.generator), self.net.size)  # (CROPS, size², places)
        chosen = torch.randint(patches.shape[2], (CROPS, 1, EACH), generator=self.generator)
        patches = patches.gather(2, chosen.expand(-1, patches.shape[1], -1))
        return self.net.coefficients(patches.transpose(0, 1).flatten(1))

    @torch.inference_mode()
    def _gains(self, origins: dict[str, list[Tensor]]) -> dict[str, Any]:
        denoiser = EPLL(self.finish())

        def gain(sigma: float, picture: Tensor) -> float:
            clean = crop_centre(picture, CENTRE)[None].float() / 255
            noise = sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
            return float(psnr(denoiser(clean + noise, sigma).clamp(0, 1), clean))

        return by_origin(origins, {f"{255 * sigma:.0f}": partial(gain, sigma) for sigma in JUDGED})


def _photographs(objective: Objective) -> Denoising:
    if not isinstance(objective, Denoising):
        raise TypeError(f"a mixture learns from photographs, as for denoising, not from {type(objective).__name__}.")
    return objective


def log_densities(c: Tensor, weights: Tensor, covariances: Tensor) -> Tensor:
    """log π_k + log N(c_i; 0, Σ_k): c (D, n) -> (K, n), in the dtype of c; Cholesky factors in that of Σ.

    cᵀΣ⁻¹c is linear in the products c_a c_b, so that one product of matrices serves all components.
    """
    d = covariances.shape[-1]
    lower = torch.linalg.cholesky(covariances)
    roots = lower.diagonal(dim1=1, dim2=2).log().sum(1)  # log det Σ/2
    heights = weights.clamp_min(1e-30).log() - roots - d / 2 * math.log(2 * math.pi)
    a, b = torch.triu_indices(d, d)
    halves = torch.cholesky_inverse(lower)[:, a, b] * torch.where(a == b, 0.5, 1.0)
    return quadratic(c, heights.to(c), halves.to(c))


def quadratic(c: Tensor, heights: Tensor, halves: Tensor) -> Tensor:
    """heights − halves · (c_a c_b, a <= b): (D, n), (K,), (K, D (D + 1)/2) -> (K, n)."""
    d, n = c.shape
    result, products = c.new_empty(len(heights), n), c.new_empty(halves.shape[1], min(n, BLOCK))
    for at in range(0, n, BLOCK):
        block = c[:, at : at + BLOCK].contiguous()
        size, row = block.shape[1], 0
        for i in range(d):
            torch.mul(block[i], block[i:], out=products[row : row + d - i, :size])
            row += d - i
        result[:, at : at + size] = torch.addmm(heights[:, None], halves, products[:, :size], alpha=-1)
    return result
