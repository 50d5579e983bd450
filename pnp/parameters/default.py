"""The solver that is taken when nobody names one."""

from __future__ import annotations

from .. import solvers as solvers  # they fill their registry
from ..core.solver import fitting
from ..priors.base import Prior

UNCONVEX = ("hqs",)  # comes first for a prior that is not a closed convex function


def default_solver(prior: Prior, data: set[str] | None = None) -> str:
    """The first registered solver that fits the prior and the data term; HQS first for a denoiser in a prior's place.

    data: what the data term offers (`Problem.offers`); None: all, as with Gaussian noise.
    Without a rule HQS is the safer one: under ADMM the multiplier may keep noise in the image.  Raises ValueError when
    none fits.
    """
    names = fitting(prior, data)
    first = [] if prior.closed_convex else [name for name in UNCONVEX if name in names]
    if names:
        return (*first, *names)[0]
    offers = ", ".join(sorted(prior.offers())) or "nothing"
    raise ValueError(f"no solver fits prior {prior.name}, which offers {offers}.")
