"""The solver that is taken when nobody names one."""

from __future__ import annotations

from .. import solvers as solvers  # they fill their registry
from ..core.solver import fits
from ..priors.base import Prior
from ..registry import SOLVERS

UNCONVEX = ("hqs",)  # comes first for a prior that is not a closed convex function


def default_solver(prior: Prior, data: set[str] | None = None) -> str:
    """The first registered solver that fits the prior and the data term; HQS first for a denoiser in a prior's place.

    data: what the data term offers (`Problem.offers`); None: all, as with Gaussian noise.
    Without a rule HQS is the safer one: under ADMM the multiplier may keep noise in the image.  Raises ValueError when
    none fits.
    """
    for name in (*(() if prior.closed_convex else UNCONVEX), *SOLVERS):
        if fits(SOLVERS[name].make(), prior, data):
            return name
    offers = ", ".join(sorted(prior.offers())) or "nothing"
    raise ValueError(f"no solver fits prior {prior.name}, which offers {offers}.")
