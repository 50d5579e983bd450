"""`gd`: one name for the descents, which says by its options which one."""

from __future__ import annotations

from ..core.solver import Solver
from ..registry import SOLVERS, SpecError
from .gradient import GradientDescent


@SOLVERS.register(
    "gd",
    rank=70,
    cite=("polyak1964", "nesterov1983", "zukerman2021"),
    examples=(
        "gd",
        "gd:momentum=0.9",
        "gd:momentum=0.9,nesterov=true",
        "gd:optimizer=Adam,lr=0.01,average=0.98",
        "gd:optimizer=Muon,lr=0.01,envelope=0.3",
    ),
)
def gd(
    tau: float | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    optimizer: str = "SGD",
    lr: float | None = None,
    average: float = 0.0,
    envelope: float | None = None,
    iterations: int = 500,
) -> Solver:
    """Descent on f + lam g: plain, with momentum, or by any optimiser of torch.

        m <- momentum m + G;   x <- x − tau m                     (Polyak 1964)
        m <- momentum m + G;   x <- x − tau (G + momentum m)      (nesterov; Nesterov 1983, as in torch)

    G = ∇f(x) + lam ∇g(x).  tau: the step, by default 1/(L_f + lam L_g), L_f = ‖A‖²/sigma².
    optimizer, lr: the name of a class of torch.optim and its learning rate, for `descent` or, with LBFGS, `lbfgs` in
    the variables that the prior draws the image from; without them the recursions above.
    average: the image is the mean of all images so far with weights average^age, as in the deep image prior (Ulyanov et
    al. 2018); 0 is the last one.
    envelope: rho, to descend the Moreau envelope of f instead, the t below which is sigma²/rho:

        ∇f_t(x) = (x − prox_{t f}(x))/t = rho (AᵀA + rho I)⁻¹ Aᵀ(Ax − y)/sigma²

    With rho well below ‖A‖² all that A sees is learned at one pace, what a blur has weakened too; at 0 it would be the
    back-projection of Zukerman, Tirer & Giryes 2021 (BP-DIP).
    """
    from .descent import Descent  # here, so that they come after `gd` in the order of choice
    from .lbfgs import LBFGS

    if optimizer == "SGD":
        if lr is not None:
            raise SpecError("SGD takes its step as tau; every other optimizer takes a learning rate lr, e.g. lr=0.01.")
        return GradientDescent(tau, momentum, nesterov, average, envelope, iterations)
    if lr is None:
        raise SpecError(f"{optimizer} takes a learning rate lr, e.g. gd:optimizer={optimizer},lr=0.01.")
    if tau is not None or momentum or nesterov:
        raise SpecError(f"tau and momentum are options of SGD. {optimizer} takes only a learning rate lr.")
    if optimizer == "LBFGS":
        if envelope is not None:
            raise SpecError("LBFGS does not take envelope. Leave it out, or use another optimizer.")
        return LBFGS(lr, average, iterations)
    return Descent(optimizer, lr, average, envelope, iterations)
