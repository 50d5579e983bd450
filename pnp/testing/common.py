"""What the checks share: pictures, how a part is run, and how a failure is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float64, torch.float32)  # the sharper one first
Settings = dict[str, Any]


def pictures(*shape: int, seed: int = 1, like: Tensor | None = None) -> Tensor:
    """Random numbers from 0 to 1 that float32 holds exactly, as float64 or as `like`; the same on every device."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).double()
    return drawn if like is None else drawn.to(like)


def gaussian(*shape: int, seed: int = 2, like: Tensor | None = None) -> Tensor:
    """The same for normal random numbers of variance 1."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).double()
    return drawn if like is None else drawn.to(like)


def expect(holds: bool | Tensor, said: str) -> None:
    """AssertionError(said) unless it holds, also under `python -O`."""
    if not bool(holds):
        raise AssertionError(said)


def run(part: Callable[..., None], *arguments: Any) -> None:
    """One part of a check; an error that it did not foresee becomes an AssertionError that names the part."""
    try:
        part(*arguments)
    except AssertionError:
        raise
    except Exception as error:
        fact = (part.__doc__ or part.__name__).split("\n", 1)[0].rstrip(".")
        kinds = ", ".join(f"{tuple(a.shape)} {_short(a)}" for a in arguments if isinstance(a, Tensor))
        raise AssertionError(
            f"expected: {fact}. Got {type(error).__name__}: {error}" + f" (with {kinds})" * bool(kinds)
        ) from error


def alike(found: Any, like: Tensor, shape: Sequence[int] | torch.Size, what: str) -> None:
    """A finite tensor of this shape, with the dtype and device of `like`."""
    expect(isinstance(found, Tensor), f"{what} is a {type(found).__name__}; expected a tensor of shape {tuple(shape)}.")
    expect(
        tuple(found.shape) == tuple(shape), f"{what} has shape {tuple(found.shape)}; expected {tuple(shape)}."
    )
    expect(
        found.dtype == like.dtype,
        f"{what} is {_short(found)} for {_short(like)} input; expected the same. Look at constants and buffers: "
        "cast them to the input, `k.to(x)`.",
    )
    expect(found.device == like.device, f"{what} is on {found.device} for input on {like.device}; expected the same.")
    expect(found.isfinite().all(), f"{what} has values that are NaN or infinite; expected finite ones.")


def near(found: Tensor, expected: Tensor, what: str, atol: float, look: str) -> None:
    """No number of `found` is further than atol from `expected`."""
    expect(
        tuple(found.shape) == tuple(expected.shape),
        f"{what}: got shape {tuple(found.shape)}, expected {tuple(expected.shape)}. {look}",
    )
    apart = float((found.double() - expected.double()).abs().max()) if found.numel() else 0.0
    expect(apart <= atol, f"{what}: off by {apart:.2g}, expected at most {atol:.2g}. {look}")  # NaN fails, too


def same(first: Any, second: Any, what: str, look: str) -> None:
    """Equal bit by bit, through tuples and dictionaries."""
    if isinstance(first, Tensor):
        equal = isinstance(second, Tensor) and second.dtype == first.dtype and second.shape == first.shape
        expect(equal and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True), f"{what}. {look}")
    elif isinstance(first, dict):
        for key in first:
            same(first[key], second[key], what, look)
    elif isinstance(first, tuple | list):
        for a, b in zip(first, second, strict=True):
            same(a, b, what, look)
    elif isinstance(first, int | float):
        expect(first == second or first != first, f"{what}. {look}")


def copied(value: Any) -> Any:
    """The value with its tensors copied, through tuples."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple):
        parts = [copied(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


class Kept:
    """Tensors of the caller, which must be as they were."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors, self.before = tensors, {name: t.detach().clone() for name, t in tensors.items()}
        self.asked = {name: t.requires_grad for name, t in tensors.items()}

    def unchanged(self, by: str) -> None:
        for name, tensor in self.tensors.items():
            expect(
                torch.equal(tensor, self.before[name]) and tensor.requires_grad == self.asked[name],
                f"{by} changed its argument {name} in place; expected it untouched. Look at methods that end in _, "
                "`+=`, `out=` and `requires_grad_`.",
            )


def settings(thing: Any) -> Settings:
    """What an object holds, one level deep, with its tensors copied."""
    return {name: copied(value) for name, value in vars(thing).items()}


def unchanged(thing: Any, before: Settings, by: str) -> None:
    """The attributes of an object are those of `before`: the same numbers, the same objects."""
    now = vars(thing)
    changed = sorted(now.keys() ^ before.keys())
    for name in now.keys() & before.keys():
        old, new = before[name], now[name]
        if isinstance(old, Tensor):
            kept = isinstance(new, Tensor) and torch.equal(old, new)
        else:
            kept = old is new or bool(isinstance(old, bool | int | float | str | tuple) and old == new)
        changed += [] if kept else [name]
    expect(
        not changed,
        f"{by} changed {', '.join(changed)} of the object itself; expected it as before, so that one solve does not "
        "hang on another. State of one solve lives in what `begin` or `init` returns.",
    )


def raises(error: type[Exception], call: Callable[[], Any], what: str) -> None:
    """The call raises this error."""
    try:
        call()
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{what} raised {type(other).__name__}: {other}; expected {error.__name__}.") from other
    raise AssertionError(f"{what} raised nothing; expected {error.__name__}.")


def _short(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
