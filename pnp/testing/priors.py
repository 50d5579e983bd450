"""Does a prior keep its contract?"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from ..linalg import dot, largest_singular_value, norm, per_image
from ..priors.base import Prior
from .common import DTYPES, Kept, alike, expect, gaussian, near, pictures, raises, run, same, settings, unchanged

EVERY = ("prox", "grad", "value", "split", "parametrise", "restore")
TAUS = (0.02, 0.2)  # one for each image of the batch


def check_prior(
    prior: Prior,
    shape: tuple[int, int, int] = (1, 16, 16),
    *,
    device: str | torch.device = "cpu",
    gap: float = 1e-9,
    rounding: float = 1e-12,
) -> None:
    """Examine g by what `Prior` promises, of which it may offer any part.  A denoiser D is examined as `PnP(D)`.

        prox        of a closed convex g, p = prox(v, tau):  g(z) >= g(p) + ⟨v − p, z − p⟩/tau  at z = p/2, v/2, v,
                    0.99 p, 1.01 p, 1.5 p, p + small noise, the mean of p; tau a number and (B, 1, 1, 1)
        grad        ⟨∇g(x), d⟩ = [g(x + h d) − g(x − h d)]/(2 h), where there is a value
        lipschitz   of a closed convex g, or of one whose weakness is known, ‖∇g(x + d) − ∇g(x)‖ <= L ‖d‖ along the
                    steepest d that power iteration finds
        weakness    ⟨∇g(x) − ∇g(z), x − z⟩ >= −rho ‖x − z‖² for pairs near and far
        split       ⟨Kx, q⟩ = ⟨x, Kᵀq⟩;  ‖K‖ <= norm <= 2 ‖K‖;  of a closed convex g, h(Kx) = g(x): the slope of g
                    along d is ⟨w, Kd⟩, w = (Kx − prox of h(Kx, t))/t with a small t
        begin       what it returns remembers, the prior itself does not, and no solve learns of another
        offers      what it offers it has, and the rest raises NotImplementedError; smoothing() >= 0
        parametrise one drawing of (1, C, H, W) for each picture
        restore     a picture of the measurement's shape, each of a batch as if alone

    prox and grad keep shape, dtype and device, value is (B,); in float64 and float32; each image of a batch as if
    alone; two calls bitwise equal, with arguments and the prior as before.

    shape: (C, H, W) of the pictures.  gap: the relative duality gap of a prox that iterates.  rounding: by how much
    numbers may differ that should be equal, 1e-3 for a network in float32 whose output is divided by a variance.
    Raises AssertionError for what is not so.
    """
    own = settings(prior)
    for dtype in DTYPES:
        like = torch.empty(0, dtype=dtype, device=device)
        v = pictures(2, *shape, like=like) + 0.1 * gaussian(2, *shape, like=like)
        for part in (_shapes, _keeps, _begins):
            run(part, prior, v)
            unchanged(prior, own, f"a call of {prior.name}")
    v = _noisy(shape, torch.empty(0, dtype=torch.float64, device=device))
    for part in (_offers, _drawn):
        run(part, prior, v)
    run(_batch, prior, v, rounding)
    run(_prox, prior, v, gap)
    for checked in (_grad, _lipschitz, _weakness, _split):
        run(checked, prior, v, max(gap, rounding))


def _noisy(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Two pictures of a flat rectangle, and noise."""
    v = gaussian(2, *shape, like=like) * 0.2 + 0.2
    v[0, :, : shape[1] // 2, : shape[2] // 3] += 0.6
    v[1, :, shape[1] // 3 :, shape[2] // 2 :] += 0.4
    return v


def _taus(v: Tensor) -> Tensor:
    return torch.tensor(TAUS, dtype=v.dtype, device=v.device).view(2, 1, 1, 1)


def _calls(prior: Prior) -> dict[str, Callable[[Tensor, float | Tensor], Tensor]]:
    """What is offered, as functions of a picture and a tau."""
    every = {
        "prox": prior.prox, "grad": lambda v, _: prior.grad(v), "value": lambda v, _: prior.value(_inside(prior, v)),
        "restore": lambda v, _: prior.restore(v),
    }  # fmt: skip
    return {name: call for name, call in every.items() if name in prior.offers()}


def _inside(prior: Prior, v: Tensor) -> Tensor:
    """v, and for a constraint that it breaks, whose value is ∞ there, the nearest picture that keeps it."""
    constrained = "prox" in prior.offers() and bool((prior.value(v) == float("inf")).any())
    return prior.prox(v, 0.05) if constrained else v


def _shapes(prior: Prior, v: Tensor) -> None:
    """prox and grad have the picture's shape, dtype and device, value is (B,)."""
    for name, call in _calls(prior).items():
        for tau in (0.05, _taus(v)):
            alike(call(v, tau), v, (len(v),) if name == "value" else v.shape, f"{name} of {prior.name}")


def _offers(prior: Prior, v: Tensor) -> None:
    """What a prior offers it has, and the rest says that it is not there."""
    offered = prior.offers()
    expect(
        bool(offered) and offered <= set(EVERY),
        f"offers() of {prior.name} is {sorted(offered)}; expected some of {', '.join(EVERY)}.",
    )
    if "grad" not in offered:
        raises(NotImplementedError, lambda: prior.grad(v), f"grad, which offers() of {prior.name} leaves out,")
    if "value" not in offered:
        raises(NotImplementedError, lambda: prior.value(v), f"value, which offers() of {prior.name} leaves out,")
    if "prox" not in offered:
        raises(NotImplementedError, lambda: prior.prox(v, 0.1), f"prox, which offers() of {prior.name} leaves out,")
    expect(prior.smoothing() >= 0, f"smoothing() is {prior.smoothing()}; expected a standard deviation, or 0.")
    expect(prior.lipschitz() > 0, f"lipschitz() is {prior.lipschitz()}; expected a number above 0, or inf.")


def _batch(prior: Prior, v: Tensor, rounding: float) -> None:
    """Each picture gets the prox, gradient and value that it gets alone."""
    for name, call in _calls(prior).items():
        whole = call(v, _taus(v))
        for i in range(len(v)):
            alone = call(v[i : i + 1], TAUS[i])
            near(whole[i : i + 1], alone, f"{name} of {prior.name}: picture {i} of a batch is not what it is alone",
                 rounding * max(1, float(alone.abs().max())),
                 "Look for a mean, a norm or a stop over the batch, and at how tau (B, 1, 1, 1) enters.")  # fmt: skip


def _keeps(prior: Prior, v: Tensor) -> None:
    """Nothing of the prior or of the caller changes, and two calls are bitwise equal."""
    tau = _taus(v)
    kept, own, first = Kept(v=v, tau=tau), settings(prior), {}
    for name, call in _calls(prior).items():
        first[name] = call(v, tau).clone()
        kept.unchanged(f"{name} of {prior.name}")
        unchanged(prior, own, f"{name} of {prior.name}")
        call(v.flip(-1) + 0.3, 0.1)
    prior.begin(v)
    kept.unchanged(f"begin of {prior.name}")
    unchanged(prior, own, f"begin of {prior.name}")
    for name, call in _calls(prior).items():
        same(first[name], call(v, tau), f"{name} of {prior.name} gives something else when it is called again",
             "Look for state that is kept from one call to the next: it belongs in what begin returns.")  # fmt: skip


def _begins(prior: Prior, v: Tensor) -> None:
    """No solve learns of another: all state of a solve lives in what begin returns."""
    begun, own = prior.begin(v), settings(prior)
    expect(isinstance(begun, Prior), f"begin of {prior.name} is a {type(begun).__name__}; expected a Prior.")
    expect(
        begun.offers() == prior.offers(),
        f"begin of {prior.name} changes what is offered, {sorted(prior.offers())}, to {sorted(begun.offers())}.",
    )
    first = {name: [call(v, 0.05).clone() for _ in range(2)] for name, call in _calls(begun).items()}
    other = v.flip(-1)[..., 1:, 1:] + 0.3
    for call in _calls(prior.begin(other)).values():
        call(other, 0.2)
    unchanged(prior, own, f"a solve with {prior.name}")
    again = prior.begin(v)
    for name, call in _calls(again).items():
        same(first[name], [call(v, 0.05) for _ in range(2)],
             f"{name} of {prior.name} is another in a second solve of the same picture",
             "begin must return the prior as it was before any solve: copy what a solve changes.")  # fmt: skip


def _prox(prior: Prior, v: Tensor, gap: float) -> None:
    """(v − prox)/tau is a subgradient of g at the prox."""
    if not (prior.begin(v).closed_convex and {"prox", "value"} <= prior.offers()):
        return
    noise = gaussian(*v.shape, seed=3, like=v)
    for tau in (0.05, _taus(v)):
        p = prior.prox(v, tau)
        t = torch.as_tensor(tau, dtype=v.dtype, device=v.device).expand(len(v), 1, 1, 1).flatten()
        slack = gap * (prior.value(p) + dot(p - v, p - v).flatten() / (2 * t)) + 1e-9
        flat = p.mean((-2, -1), keepdim=True).expand(p.shape)
        points = {"p/2": p / 2, "1.5 p": 1.5 * p, "0.99 p": 0.99 * p, "1.01 p": 1.01 * p, "v": v, "v/2": v / 2,
                  "the mean of p": flat, "(p + v)/2": (p + v) / 2,
                  **{f"p + {s} noise": p + s * noise for s in (0.1, 0.01, 0.001)}}  # fmt: skip
        for name, z in points.items():
            missed = prior.value(p) + dot(v - p, z - p).flatten() / t - prior.value(z)
            times = float((missed / slack).max())
            expect(
                times <= 1,
                f"prox of {prior.name} misses g(z) >= g(p) + ⟨v − p, z − p⟩/tau at z = {name} by "
                f"{float(missed.max()):.2g} ({times:.1f} times what is allowed; tau "
                f"{tau if isinstance(tau, float) else '(B, 1, 1, 1)'}). tau is a variance; look at its root, at a "
                "factor 2, and whether value belongs to this prox.",
            )


def _slope(prior: Prior, x: Tensor, d: Tensor, step: float) -> Tensor:
    """The slope of g at x along d, (B,)."""
    return (prior.value(x + step * d) - prior.value(x - step * d)) / (2 * step)


def _step(accuracy: float) -> float:
    """Of a difference quotient: rounding over it and its square are balanced."""
    return max(1e-6, min(0.03, 0.3 * accuracy ** (1 / 3)) if accuracy > 1e-9 else 0)


def _grad(prior: Prior, x: Tensor, accuracy: float) -> None:
    """grad is the slope of value."""
    if not {"grad", "value"} <= prior.offers():
        return
    for seed in (5, 6):
        d = gaussian(*x.shape, seed=seed, like=x)
        expected, found = _slope(prior, x, d, _step(accuracy)), dot(prior.grad(x), d).flatten()
        scale = float((norm(prior.grad(x)) * norm(d)).max())
        near(found, expected, f"⟨grad(x), d⟩ of {prior.name} is not the slope of value at x along d",
             (1e-5 + 3 * sqrt(accuracy)) * scale + 1e-7,
             "Look at a sign, a factor 2, an axis, a border.")  # fmt: skip


def _lipschitz(prior: Prior, x: Tensor, accuracy: float) -> None:
    """No gradient changes faster than lipschitz says."""
    bound = prior.lipschitz()
    known = prior.begin(x).closed_convex or prior.weakness() < float("inf")
    if bound == float("inf") or "grad" not in prior.offers() or not known:
        return
    flat = x.mean((-2, -1), keepdim=True).expand(x.shape).contiguous()
    for at in (flat, x):
        d, fastest = gaussian(*x.shape, seed=4, like=x), 0.0
        for _ in range(15):  # power iteration on the Hessian
            d = 10 * _step(accuracy) * d / norm(d)
            change = prior.grad(at + d) - prior.grad(at)
            fastest = max(fastest, float((norm(change) / norm(d)).max()))
            d = torch.where(norm(change) > 0, change, d)
        expect(
            fastest <= bound * (1 + 1e-3 + sqrt(accuracy)),
            f"grad of {prior.name} changes by {fastest:.4g} times as much as its picture does; lipschitz() says "
            f"{bound:.4g}, expected at least that. Steps of 1/L would run away.",
        )


def _weakness(prior: Prior, x: Tensor, accuracy: float) -> None:
    """g + rho/2 ‖x‖² is convex: its gradient is monotone."""
    rho = prior.weakness()
    expect(rho >= 0, f"weakness() of {prior.name} is {rho}; expected 0 or more, or inf.")
    if rho == float("inf") or "grad" not in prior.offers():
        return
    at = prior.grad(x)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        d = size * gaussian(*x.shape, seed=11, like=x)
        for _ in range(8):  # towards the direction that is bent down most
            bend = prior.grad(x + d) - at
            below = float((dot(bend, d) / dot(d, d)).min())
            expect(
                below >= -rho * (1 + 1e-6) - sqrt(accuracy) * float(norm(at).max()),
                f"the gradient of {prior.name} falls by {-below:.4g} times as much as its picture rises; weakness() "
                f"says {rho:.4g}, expected at least that. A problem that is said to be convex would not be.",
            )
            d = d * max(rho, prior.lipschitz() if prior.lipschitz() < float("inf") else rho, 1.0) - bend
            if not bool((norm(d) > 0).all()):  # every direction is bent alike
                break
            d = size * d / norm(d) * x[0].numel() ** 0.5


def _split(prior: Prior, x: Tensor, accuracy: float) -> None:
    """split is g = h ∘ K with Kᵀ, ‖K‖ and the prox of h."""
    if "split" not in prior.offers():
        return
    split, kept, tau = prior.split(), Kept(x=x), 1e-7
    kx = split.map(x)
    q = gaussian(*kx.shape, seed=9, like=kx)
    pulled, kept = split.adjoint(q), Kept(x=x, kx=kx, q=q)
    alike(kx, x, kx.shape, f"map of the split of {prior.name}")
    alike(pulled, x, x.shape, f"adjoint of the split of {prior.name}")
    gap = float(((dot(kx, q).flatten() - dot(x, pulled).flatten()).abs() / (norm(kx) * norm(q)).flatten()).max())
    expect(
        gap <= 1e-12,
        f"split of {prior.name}: ⟨Kx, q⟩ and ⟨x, Kᵀq⟩ differ by {gap:.1e} ‖Kx‖‖q‖; expected at most 1e-12.",
    )
    exact = largest_singular_value(lambda v: split.adjoint(split.map(v)), x[:1], tol=1e-9, max_iter=200)
    expect(
        exact * (1 - 1e-9) <= split.norm <= 2 * exact,
        f"split of {prior.name} says ‖K‖ = {split.norm:.6g}; it is {exact:.6g}, and expected is a bound of at most "
        "twice that. Look for a missing square root.",
    )
    p = split.prox(kx, tau)
    alike(p, kx, kx.shape, f"prox of the split of {prior.name}")
    alike(split.prox(kx, per_image(_taus(x), kx)), kx, kx.shape, f"prox of the split of {prior.name}")
    kept.unchanged(f"the split of {prior.name}")
    if "value" not in prior.offers() or type(prior).split is Prior.split or not prior.begin(x).closed_convex:
        return  # by default K is the identity and h is g: `_prox` has seen it
    d = gaussian(*x.shape, seed=5, like=x)
    found, expected = dot((kx - p) / tau, split.map(d)).flatten(), _slope(prior, x, d, 1e-6)
    scale = float((norm(d) * norm(split.adjoint((kx - p) / tau))).max())
    near(found, expected, f"split of {prior.name}: h(Kx) is not g(x): along d the slope of h(Kx) is not that of value",
         1e-4 * scale + 1e-7, "Look at the prox of h, and at the weight of h.")  # fmt: skip


def _drawn(prior: Prior, v: Tensor) -> None:
    """parametrise draws one picture for each of the batch."""
    if "parametrise" not in prior.offers():
        return
    drawings = prior.begin(v).parametrise(v)
    expect(len(drawings) == len(v), f"parametrise makes {len(drawings)} drawings of {len(v)} pictures.")
    for drawing in drawings:
        alike(drawing.draw().detach(), v, (1, *v.shape[1:]), f"a drawing of {prior.name}")
        expect(all(t.requires_grad for t in drawing.variables), "a variable of a drawing requires no gradient.")
