"""Does a noise keep its contract?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..noises.base import Noise
from .common import DTYPES, Kept, alike, expect, gaussian, near, pictures, raises, run, same, settings, unchanged

SIDE = 6  # of the images whose pixels are looked at one by one
TAUS = (0.003, 0.3)  # one for each image of a batch
KINKS = "A kink of value exactly there would be bad luck: it is a random image."
PARTS = ("slope", "prox", "curvature", "pulls")


def check_noise(noise: Noise, *, device: str | torch.device = "cpu") -> None:
    """Examine f(u; y) = −log p(y | u) by what `Noise` promises.

        draw       the same for the same seed, in either dtype; another for another seed
        slope      [value(u + h eᵢ) − value(u − h eᵢ)]/(2 h) at each pixel i
        prox       value(p) + ‖p − v‖²/(2 tau) is least at p, against p ± 1e-6 to 0.1, v, y, their middle, at each pixel
                   by itself, for tau from 0.0003 to 1 and (B, 1, 1, 1)
        pulls      both parts >= 0, and slope their difference, for u from 0 to 100
        curvature  |slope(a) − slope(b)| <= curvature |a − b| for a, b from 0 to 1, and more than a hundredth of it
                   somewhere; of a noise that works on blocks: the norms over an image
        expected   the root mean square of misfit(u, y) at the truth u, within 5 %, over the measured samples
        level      a number or (B, 1, 1, 1) above 0
        offers     what it offers it has, and the rest raises NotImplementedError

    value is (B,), the others keep shape, dtype and device; in float64 and float32; each image of a batch as if alone;
    two calls bitwise equal, with arguments and the noise as before.  Images are from 0 to 1.
    Raises AssertionError for what is not so.
    """
    own = settings(noise)
    for dtype in DTYPES:
        like = torch.empty(0, dtype=dtype, device=device)
        for part in (_draws, _shapes, _keeps, _offers, _batch, _precise):
            run(part, noise, like)
            unchanged(noise, own, "begin or draw")
    like = torch.empty(0, dtype=torch.float64, device=device)
    for part in (_slope, _pulls, _prox, _curvature, _expected):
        run(part, noise, like)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _drawn(noise: Noise, like: Tensor, side: int = 16) -> tuple[Tensor, Tensor, Noise]:
    """u, y, and the noise of this y."""
    u = 0.05 + 0.9 * pictures(2, 1, side, side, like=like)
    y = noise.draw(u, _seeded(1))
    return u, y, noise.begin(y)


def _draws(noise: Noise, like: Tensor) -> None:
    """draw makes one measurement for one seed, the same in either dtype."""
    u = pictures(2, 1, 16, 16, like=like)
    kept = Kept(u=u)
    y = noise.draw(u, _seeded(1))
    kept.unchanged("draw")
    alike(y, u, u.shape, "draw(u, generator)")
    same(y, noise.draw(u, _seeded(1)), "draw gives two measurements for one seed",
         "Draw with the generator that is given, and nothing else.")  # fmt: skip
    expect(not torch.equal(y, noise.draw(u, _seeded(2))), "draw gives one measurement for two seeds; expected two.")
    double = noise.draw(u.double(), _seeded(1))
    near(y, double, "draw in float32 is not draw in float64", 1e-4 * (1 + float(double.abs().max())),
         "Draw in float64 on the CPU, `torch.randn(..., generator=generator, dtype=torch.float64).to(u)`.")  # fmt: skip


def _shapes(noise: Noise, like: Tensor) -> None:
    """value is (B,), what else there is has the shape of u, and level and expected are above 0."""
    u, y, begun = _drawn(noise, like)
    expect(isinstance(begun, Noise), f"begin(y) is a {type(begun).__name__}; expected the noise of this y.")
    at = u + 0.03
    alike(begun.value(at, y), u, (len(u),), "value(u, y)")
    alike(begun.misfit(at, y), u, u.shape, "misfit(u, y)")
    if "slope" in begun.offers():
        alike(begun.slope(at, y), u, u.shape, "slope(u, y)")
    if "prox" in begun.offers():
        for tau in (0.1, _taus(u)):
            alike(begun.prox(at, y, tau), u, u.shape, "prox(v, y, tau)")
    for name, number, shapes in (
        ("level", begun.level(y), ((), (1, 1, 1, 1), (2, 1, 1, 1))),
        ("expected", begun.expected(y), ((), (1,), (2,))),
        *((("curvature", begun.curvature(y), ((), (1, 1, 1, 1), (2, 1, 1, 1))),) if "curvature" in begun.offers()
          else ()),
    ):  # fmt: skip
        found = torch.as_tensor(number)
        expect(
            tuple(found.shape) in shapes and bool((found > 0).all()) and bool(found.isfinite().all()),
            f"{name}(y) is {number} for a batch of 2; expected a number above 0, or {shapes[-1]} of them.",
        )


def _offers(noise: Noise, like: Tensor) -> None:
    """What a noise offers it has, and the rest says that it is not there."""
    u, y, begun = _drawn(noise, like)
    offered = begun.offers()
    known = {*PARTS, "completed"}
    expect(offered <= known, f"offers() is {sorted(offered)}; expected some of {', '.join(sorted(known))}.")
    expect(offered == noise.offers(), f"begin changed what is offered, {sorted(noise.offers())} to {sorted(offered)}.")
    if "slope" not in offered:
        raises(NotImplementedError, lambda: begun.slope(u, y), "slope, which offers() leaves out,")
    if "prox" not in offered:
        raises(NotImplementedError, lambda: begun.prox(u, y, 0.1), "prox, which offers() leaves out,")
    if "completed" in offered:
        gap = float((begun.completed(u, y) - (u - begun.misfit(u, y))).abs().max())
        expect(gap < 1e-6, f"completed(u, y) is not u − misfit(u, y): they differ by {gap:.1e}.")
    if "curvature" not in offered:
        expect(begun.curvature(y) == float("inf"), "curvature is finite, and offers() leaves it out.")
    else:
        expect("slope" in offered, "offers() has curvature without slope, whose Lipschitz constant it is.")


def _batch(noise: Noise, like: Tensor) -> None:
    """Each image of a batch gets what it gets alone."""
    u, y, begun = _drawn(noise, like, 32)
    y = torch.cat([y[:1], noise.draw(0.5 * u[1:], _seeded(3))])  # the second is half as bright
    begun, at, taus = noise.begin(y), u + 0.02, _taus(u)
    rounding = 1e3 * torch.finfo(u.dtype).eps
    for i in range(2):
        one, alone = slice(i, i + 1), noise.begin(y[i : i + 1])
        pairs = {"value": (begun.value(at, y), alone.value(at[one], y[one])),
                 "misfit": (begun.misfit(at, y), alone.misfit(at[one], y[one]))}  # fmt: skip
        if "slope" in begun.offers():
            pairs["slope"] = begun.slope(at, y), alone.slope(at[one], y[one])
        if "prox" in begun.offers():
            pairs["prox"] = begun.prox(at, y, taus), alone.prox(at[one], y[one], TAUS[i])
        for name in ("level", "expected", *(("curvature",) if "curvature" in begun.offers() else ())):
            whole, single = (torch.as_tensor(getattr(n, name)(v)).to(u) for n, v in ((begun, y), (alone, y[one])))
            pairs[name] = whole.flatten().expand(2), single.flatten()
        for name, (whole, single) in pairs.items():
            near(whole[one], single, f"{name}: image {i} of a batch of 2 is not what it is alone",
                 rounding * (1 + float(single.abs().max())),
                 "Look for a sum, a mean or a maximum over the batch, and at how tau (B, 1, 1, 1) enters.")  # fmt: skip


def _keeps(noise: Noise, like: Tensor) -> None:
    """Nothing of the noise or of the caller changes, and two calls are bitwise equal."""
    u, y, _ = _drawn(noise, like)
    known = torch.ones_like(y[:1])
    own, kept = settings(noise), Kept(u=u, y=y, known=known)
    begun = noise.begin(y, known)
    kept.unchanged("begin")
    unchanged(noise, own, "begin")
    calls = {"value": lambda: begun.value(u, y), "misfit": lambda: begun.misfit(u, y),
             "level": lambda: begun.level(y), "expected": lambda: begun.expected(y)}  # fmt: skip
    if "slope" in begun.offers():
        calls["slope"] = lambda: begun.slope(u, y)
    if "prox" in begun.offers():
        calls["prox"] = lambda: begun.prox(u, y, 0.1)
    if "curvature" in begun.offers():
        calls["curvature"] = lambda: begun.curvature(y)
    before, first = settings(begun), {}
    for name, call in calls.items():
        value = call()
        first[name] = value.clone() if isinstance(value, Tensor) else value
        kept.unchanged(name)
        unchanged(begun, before, name)
    noise.begin(y / 2).value(u, y / 2)
    for name, call in calls.items():
        same(first[name], call(), f"{name} gives something else when it is called again",
             "Look for state that is kept from one call, or from one begin, to the next.")  # fmt: skip


def _precise(noise: Noise, like: Tensor) -> None:
    """In float32 it is what it is in float64."""
    u, y, begun = _drawn(noise, like)
    double = noise.begin(y.double())
    pairs = {"value": (begun.value(u, y), double.value(u.double(), y.double()))}
    if "prox" in begun.offers():
        v = u + 0.1
        pairs["prox"] = begun.prox(v, y, 0.01), double.prox(v.double(), y.double(), 0.01)
    for name, (found, exact) in pairs.items():
        near(found, exact, f"{name} in float32 is not {name} in float64", 1e-4 * (1 + float(exact.abs().max())),
             "Look for a difference of large numbers, and for a constant that float32 cannot hold.")  # fmt: skip


def _rows(noise: Noise, like: Tensor) -> tuple[Tensor, Tensor, Noise, Tensor]:
    """u and y of a small image, once for each of its pixels; the noise of that batch; and the pixels, (n, 1, s, s)."""
    side = _side(noise)
    n = side * side
    u, y, _ = _drawn(noise, like, side)
    u, y = (torch.cat([v[i : i + 1].expand(n, -1, -1, -1) for i in range(2)]) for v in (u, y))
    pixels = torch.eye(n, dtype=u.dtype, device=u.device).view(n, 1, side, side).repeat(2, 1, 1, 1)
    return u.contiguous(), y.contiguous(), noise.begin(y.contiguous()), pixels


def _side(noise: Noise) -> int:
    """Of an image that is small, and has a whole block and a part of one."""
    return max(SIDE, noise.block + 2 if noise.block > 1 else 1)


def _at(x: Tensor, pixels: Tensor) -> Tensor:
    """The one pixel of each row, (n,)."""
    return (x * pixels).flatten(1).sum(1)


def _slope(noise: Noise, like: Tensor) -> None:
    """slope is the derivative of value."""
    u, y, begun, pixels = _rows(noise, like)
    if "slope" not in begun.offers():
        return
    u, h = u + 0.03, 1e-5
    expected = (begun.value(u + h * pixels, y) - begun.value(u - h * pixels, y)) / (2 * h)
    found = _at(begun.slope(u, y), pixels)
    near(found, expected, "slope(u, y) is not the derivative of value(u, y) in u, pixel by pixel",
         1e-5 * (1 + float(expected.abs().max())), f"Look at its sign, at a factor 2, at sigma². {KINKS}")  # fmt: skip


def _pulls(noise: Noise, like: Tensor) -> None:
    """pulls are the two parts of slope, neither below 0."""
    u, y, begun = _drawn(noise, like)
    if "pulls" not in begun.offers():
        raises(NotImplementedError, lambda: begun.pulls(u, y), "pulls, which offers() leaves out,")
        return
    expect("slope" in begun.offers(), "offers() has pulls without slope, whose parts they are.")
    for at in (u, 0 * u, 100 * u):
        down, up = begun.pulls(at, y)
        alike(down, u, u.shape, "the first of pulls(u, y)")
        alike(up, u, u.shape, "the second of pulls(u, y)")
        expect(
            bool((down >= 0).all() and (up >= 0).all()),
            f"pulls(u, y) go down to {float(torch.minimum(down, up).min()):.3g} where u >= 0; expected both from 0. "
            "The first draws u down, the second draws it up.",
        )
        slope = begun.slope(at, y)
        near(down - up, slope, "pulls(u, y) are not the two parts of slope(u, y), the first less the second",
             1e-9 * (1 + float(slope.abs().max())), "Look at their signs and order.")  # fmt: skip


def _prox(noise: Noise, like: Tensor) -> None:
    """prox is the minimum of value + ‖u − v‖²/(2 tau)."""
    u, y, begun, pixels = _rows(noise, like)
    if "prox" not in begun.offers():
        return
    v = u + 0.2 * gaussian(2, *u.shape[1:], like=u).repeat_interleave(len(u) // 2, 0)
    for tau in (3e-4, 0.02, 1.0, _taus(u).repeat_interleave(len(u) // 2, 0)):
        p = begun.prox(v, y, tau)

        def cost(x: Tensor, tau: float | Tensor = tau) -> Tensor:
            return begun.value(x, y) + ((x - v).square() / (2 * tau)).flatten(1).sum(1)

        least = cost(p)
        expect(least.isfinite().all(), "value is not finite at the prox; expected a point that can be.")
        steps = [sign * step for step in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1) for sign in (-1, 1)]
        others = [(f"{step:+g}", p + step * pixels) for step in steps]
        places = {"v": v, "y": y, "v/2": v / 2, "(p + y)/2": (p + y) / 2}
        others += [(name, torch.where(pixels > 0, z, p)) for name, z in places.items()]
        for name, other in others:
            there = cost(other)
            worse = float((least - there).max())
            i = int((least - there).argmax())
            expect(
                bool((there >= least - 1e-11 * (1 + least.abs())).all()),
                "prox(v, y, tau) is not the minimum of value(u, y) + ‖u − v‖²/(2 tau): at pixel "
                f"{i % (len(u) // 2)} of image {i // (len(u) // 2)} it is {worse:.2g} less at {name} than at p = "
                f"{float(_at(p, pixels)[i]):.6g} (v = {float(_at(v, pixels)[i]):.6g}, "
                f"y = {float(_at(y, pixels)[i]):.6g}, tau {tau if isinstance(tau, float) else '(B, 1, 1, 1)'}). "
                "tau is a variance; look at a factor 2, a square.",
            )


def _curvature(noise: Noise, like: Tensor) -> None:
    """The slope grows no faster than curvature says."""
    _, y, begun = _drawn(noise, like)
    if "curvature" not in begun.offers():
        return
    limit, most = torch.as_tensor(begun.curvature(y)), 0.0
    low, high = torch.zeros_like(y), torch.ones_like(y)
    a, b = pictures(*y.shape, seed=5, like=y), pictures(*y.shape, seed=6, like=y)
    for p, q in ((a, b), (low, b), (low, low + 1e-3), (a, a + 1e-3), (high, a), (high, high - 1e-3)):
        apart, allowed = (begun.slope(p, y) - begun.slope(q, y)).abs(), limit * (p - q).abs()
        if noise.block > 1:
            apart, allowed = (v.flatten(1).norm(dim=1) for v in (apart, allowed))
        share = float((apart / allowed.clamp_min(1e-30)).max())
        most = max(most, share)
        expect(
            share <= 1 + 1e-6,
            f"slope(u, y) grows {share:.4g} times as fast as curvature(y) says, between u = "
            f"{float(p.flatten()[0]):.3g} and {float(q.flatten()[0]):.3g}; expected at most 1. Steps that go by it "
            "would run away.",
        )
    expect(
        most > 0.01,
        f"slope(u, y) grows at most {most:.1e} times as fast as curvature(y) says; expected more than a hundredth, or "
        "steps would be as many times too short.",
    )


def _expected(noise: Noise, like: Tensor) -> None:
    """The misfit at the truth is as long as expected."""
    steps = torch.linspace(0, 1, 160, dtype=like.dtype, device=like.device)
    u = (0.02 + 0.96 * steps[:, None] * steps.flip(0)).expand(2, 1, 160, 160).clone()  # smooth, as most of a picture
    u[1] = 1 - u[1]
    y = noise.draw(u, _seeded(1))
    half = (pictures(1, 1, 160, 160, seed=8, like=like) > 0.6).to(u)
    for known in (None, half) if noise.block == 1 else (None,):  # a block with holes tells nothing
        seen = torch.ones_like(u) if known is None else known.expand_as(u)
        begun = noise.begin(y * seen, known)
        short = begun.misfit(u * seen, y * seen) * seen
        length = (short.square().flatten(1).sum(1) / seen.flatten(1).sum(1)).sqrt()
        said = torch.as_tensor(begun.expected(y * seen)).to(u).expand(2)
        gap = float((length / said - 1).abs().max())
        expect(
            gap <= 0.05,
            f"the root mean square of misfit(u, y) at the truth u is {length.tolist()}"
            f"{'' if known is None else ' where 40 % was measured'}; expected(y) says {said.tolist()}, "
            f"{gap:.0%} off, expected at most 5 %. Stop rules and verdicts go by it. Look at level, at misfit, and at "
            "`known`: means are over the measured samples.",
        )


def _taus(u: Tensor) -> Tensor:
    return torch.tensor(TAUS, dtype=u.dtype, device=u.device).view(2, 1, 1, 1)
