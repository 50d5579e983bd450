"""Does an operator keep its contract?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..linalg import norm
from ..operators.base import Operator, dot_test
from .common import DTYPES, Kept, alike, expect, gaussian, near, pictures, raises, run, same

Shape = tuple[int, int, int]
RHOS = (0.05, 1.0)  # one for each image of the batch


def check_operator(
    operator: Operator,
    shape: Shape | None = None,
    *,
    device: str | torch.device = "cpu",
    accuracy: float = 1e-12,
    bound: float = 1e-3,
) -> None:
    """Examine a linear operator A by what `Operator` promises.

        adjoint        |⟨Ax, y⟩ − ⟨x, Aᵀy⟩| <= accuracy ‖Ax‖ ‖y‖, and A(2 a − 3 b) = 2 A a − 3 A b
        normal         AᵀA x = Aᵀ(A x)
        solve_normal   ‖(AᵀA + rho I) x − b‖ = 0, for rho a number and (B, 1, 1, 1), with a guess x0 and without; the
                       generic solve likewise; ValueError for a rho that is not above 0
        norm           ‖A‖ (1 − 0.001) <= norm(x) <= ‖A‖ (1 + bound), ‖A‖ by Lanczos' method
        shapes         image_shape and measurement_shape agree with what forward makes; initial, visible likewise
        known          0 and 1, nothing measured where it is 0, and nothing read there
        pixelwise      A x² = (A x)² and A Aᵀ y = y

    in float64 and in float32, each image of a batch as if alone, and two calls bitwise equal with arguments, settings
    and buffers as before.

    shape: (C, H, W) of the image, small: the tests take a few hundred calls; default: the operator's own, else
    (1, 24, 24).  The operator is moved to `device` and is used in both dtypes as it comes, as `pnp solve` does.
    accuracy: relative, in float64; 1e-6 for a map that computes in float32.  bound: by how much norm may exceed ‖A‖.
    Raises AssertionError for what is not so.
    """
    shape, operator = _shape(operator) if shape is None else shape, operator.to(device)
    before, numbers = _tensors(operator), _numbers(operator)
    for dtype in DTYPES:
        x = pictures(2, *shape, like=torch.empty(0, dtype=dtype, device=device))
        rounding = accuracy if dtype == torch.float64 else max(accuracy, 1e-5)
        for part in (_shapes, _known, _keeps):
            run(part, operator, x)
        for precise in (_adjoint, _normal, _batch):
            run(precise, operator, x, rounding)
        run(_solve, operator, x, accuracy)
    x = pictures(2, *shape, like=torch.empty(0, dtype=torch.float64, device=device))
    run(_norm, operator, x, bound)
    run(_refuses, operator, x)
    _as_before(operator, before, numbers, "a check")


def _shape(operator: Operator) -> Shape:
    try:
        return operator.image_shape(None)
    except ValueError:
        return (1, 24, 24)


def _shapes(operator: Operator, x: Tensor) -> None:
    """forward, adjoint, initial and visible keep dtype and device, and the shapes that are announced."""
    shape, y = tuple(x.shape[1:]), operator(x)
    expect(len(y) == len(x), f"forward makes {len(y)} measurements of {len(x)} images; expected one of each.")
    alike(y, x, y.shape, "forward(x)")
    for name, found, expected in (
        (f"measurement_shape({shape})", operator.measurement_shape(shape), tuple(y.shape[1:])),  # type: ignore[arg-type]
        (f"image_shape({tuple(y.shape[1:])})", operator.image_shape(tuple(y.shape[1:])), shape),
    ):
        expect(
            tuple(found) == expected,
            f"{name} is {tuple(found)}; forward goes from {shape} to {tuple(y.shape[1:])}. Override it, or give an "
            "image of a size that the operator is for.",
        )
    alike(operator.adjoint(y), x, x.shape, "adjoint(y)")
    alike(operator.initial(y), x, x.shape, "initial(y)")
    seen = operator.visible(x)
    height, width = (min(a, b) for a, b in zip(seen.shape[-2:], x.shape[-2:], strict=True))
    alike(seen, x, (*x.shape[:2], height, width), "visible(x)")


def _known(operator: Operator, x: Tensor) -> None:
    """known() is 0 and 1 against y, and forward and adjoint go by it."""
    y, known = operator(x), operator.known()
    if known is not None:
        expect(bool(((known == 0) | (known == 1)).all()), "known() has values other than 0 and 1.")
        expect(known.device == x.device, f"known() is on {known.device}; expected the image's {x.device}.")
        seen = known.to(x).expand_as(y)
        expect(torch.equal(y * seen, y), "forward(x) is not 0 where known() is 0; expected nothing measured there.")
        v = gaussian(*y.shape, like=x)
        near(operator.adjoint(v * seen), operator.adjoint(v), "adjoint reads y where known() is 0", 0.0,
             "What lies there says nothing: Problem sets it to 0.")  # fmt: skip
    if operator.pixelwise:
        for found, expected in ((operator(x * x), y * y), (operator(operator.adjoint(y)), y)):
            near(found, expected, "forward of a pixelwise operator is not x where y was measured", 0.0,
                 "Set pixelwise = False.")  # fmt: skip


def _adjoint(operator: Operator, x: Tensor, accuracy: float) -> None:
    """forward is linear and adjoint is its transpose."""
    a, b = x, gaussian(*x.shape, like=x)
    combined, y = operator(2 * a - 3 * b), operator(a)
    near(combined, 2 * y - 3 * operator(b), "A(2 a − 3 b) is not 2 A a − 3 A b", 1e3 * accuracy * _size(y),
         "Look at forward for a clip, an offset, a division by the image's own range.")  # fmt: skip
    for seed in (0, 1):
        gap = dot_test(operator, x, seed=seed)
        expect(
            gap <= accuracy,
            f"⟨Ax, y⟩ and ⟨x, Aᵀy⟩ differ by {gap:.1e} ‖Ax‖‖y‖ for x {tuple(x.shape)}; expected at most "
            f"{accuracy:.0e}. Look at adjoint for a sign, an axis, a shift by one, a flipped kernel, a constant.",
        )


def _normal(operator: Operator, x: Tensor, accuracy: float) -> None:
    """normal is the adjoint of forward of x."""
    expected = operator.adjoint(operator(x))
    near(operator.normal(x), expected, "normal(x) is not adjoint(forward(x))", 100 * accuracy * _size(expected),
         "Look at normal, or leave it out.")  # fmt: skip


def _solve(operator: Operator, x: Tensor, accuracy: float) -> None:
    """solve_normal solves (AᵀA + rho I) x = b."""
    b, guess = operator.adjoint(operator(x)) + 0.1 * gaussian(*x.shape, like=x), 0.5 * x
    largest = float((norm(operator(x).double()) / norm(x.double())).max()) ** 2
    reached = operator.tolerance if x.dtype == torch.float32 else 1e-12
    most = 10 * reached + max(10 * torch.finfo(x.dtype).eps, accuracy) * (1 + largest / min(RHOS))
    for rho in (*RHOS, _both(x)):
        for x0 in (None, guess):
            generic = operator.solve_normal_report(b, rho, x0).x
            for name, found in (("solve_normal", operator.solve_normal(b, rho, x0)), ("the generic solve", generic)):
                alike(found, b, b.shape, f"{name}(b, rho)")
                v = found.double()
                left = norm(operator.adjoint(operator(v)) + rho * v - b.double())
                gap = float((left / norm(b.double())).max())
                said = f"rho = {rho}" if isinstance(rho, float) else "rho (2, 1, 1, 1)"
                expect(
                    gap <= most,
                    f"{name}(b, {said}{', x0' if x0 is not None else ''}) leaves ‖(AᵀA + rho I) x − b‖ = {gap:.1e} ‖b‖;"
                    f" expected at most {most:.0e}. Look at how rho enters (a square, a mean over the batch), at x0, "
                    "and at `preconditioner`.",
                )


def _batch(operator: Operator, x: Tensor, accuracy: float) -> None:
    """Each image of a batch gets what it gets alone."""
    y, rho = operator(x), _both(x)
    for i in range(len(x)):
        one = slice(i, i + 1)
        for name, whole, alone in (
            ("forward", y, operator(x[one])),
            ("adjoint", operator.adjoint(y), operator.adjoint(y[one])),
            ("normal", operator.normal(x), operator.normal(x[one])),
            ("solve_normal", operator.solve_normal(x, rho), operator.solve_normal(x[one], RHOS[i])),
            ("initial", operator.initial(y), operator.initial(y[one])),
            ("visible", operator.visible(x), operator.visible(x[one])),
        ):
            inexact = name in ("solve_normal", "initial")
            reached = operator.tolerance if inexact and x.dtype == torch.float32 else 0.0
            near(whole[one], alone, f"{name}: image {i} of a batch of 2 is not what it is alone",
                 ((1e3 if inexact else 100) * accuracy + 50 * reached) * _size(alone),
                 "Look for a mean, a norm or a maximum over the batch.")  # fmt: skip


def _keeps(operator: Operator, x: Tensor) -> None:
    """Nothing of the operator or of the caller changes, and two calls are bitwise equal."""
    y = operator(x).clone()
    b, rho = operator.adjoint(y).clone(), _both(x)
    calls = {
        "forward": lambda: operator(x),
        "adjoint": lambda: operator.adjoint(y),
        "normal": lambda: operator.normal(x),
        "solve_normal": lambda: operator.solve_normal(b, rho, x),
        "norm": lambda: torch.tensor(operator.norm(x)),
        "initial": lambda: operator.initial(y),
        "visible": lambda: operator.visible(x),
    }
    before, numbers, kept = _tensors(operator), _numbers(operator), Kept(x=x, y=y, b=b, rho=rho)
    first = {}
    for name, call in calls.items():
        first[name] = call().clone()
        kept.unchanged(f"{name} of {operator.name}")
        _as_before(operator, before, numbers, name)
    other = x.flip(-1) + 0.1
    operator.solve_normal(operator.adjoint(operator(other)), 0.3)
    operator.initial(operator(other))
    for name, call in calls.items():
        same(first[name], call(), f"{name} gives something else when it is called again",
             "Look for state that is kept from one call to the next, and for a draw without a seed.")  # fmt: skip


def _as_before(operator: Operator, before: dict[str, Tensor], numbers: dict[str, object], by: str) -> None:
    after, now = _tensors(operator), _numbers(operator)
    same(before, {k: after.get(k) for k in before}, f"{by} changed a buffer of {operator.name}",
         "The map must stay what it was.")  # fmt: skip
    changed = [name for name in numbers if now.get(name) != numbers[name]]
    expect(not changed, f"{by} changed the settings {', '.join(changed)} of {operator.name}; expected them kept.")


def _norm(operator: Operator, x: Tensor, bound: float) -> None:
    """norm is the largest singular value."""
    exact, found = _largest(operator, x), operator.norm(x)
    expect(
        isinstance(found, float) and exact * (1 - 1e-3) <= found <= exact * (1 + bound),
        f"norm(x) is {found}; the largest singular value is {exact:.6g}, and expected is at most 0.1 % less and at "
        f"most {bound:.2g} of it more. Look for a missing square root.",
    )


def _refuses(operator: Operator, x: Tensor) -> None:
    """solve_normal refuses a rho that is not above 0."""
    for rho in (0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0]).to(x).view(2, 1, 1, 1)):
        said = rho if isinstance(rho, float) else "(1, 0)"
        raises(ValueError, lambda rho=rho: operator.solve_normal(x, rho), f"solve_normal with rho = {said}")  # type: ignore[misc]


def _largest(operator: Operator, x: Tensor) -> float:
    """‖A‖ by Lanczos' method on AᵀA."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    def square(v: object) -> object:
        image = torch.as_tensor(v).to(x).view(1, *x.shape[1:])
        return operator.adjoint(operator(image)).flatten().cpu().numpy()

    n = x[0].numel()
    lanczos = LinearOperator((n, n), matvec=square, dtype="float64")
    start = gaussian(n, seed=7).numpy()
    return float(eigsh(lanczos, k=1, v0=start, tol=1e-5, return_eigenvectors=False)[0]) ** 0.5


def _tensors(operator: Operator) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in (*operator.named_buffers(), *operator.named_parameters())}


def _numbers(operator: Operator) -> dict[str, object]:
    return {name: value for name, value in vars(operator).items() if isinstance(value, int | float | str | tuple)}


def _both(x: Tensor) -> Tensor:
    return torch.tensor(RHOS, dtype=x.dtype, device=x.device).view(2, 1, 1, 1)


def _size(x: Tensor) -> float:
    return float(x.abs().max()) + 1e-12
