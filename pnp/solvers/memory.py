"""How a state goes on from the tensors that another solve of the same measurement has left."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

S = TypeVar("S", bound=Any)  # a NamedTuple


def placed(state: S, tensors: dict[str, Any]) -> S:
    """The state with these tensors instead of its own.  Raises ValueError where they are of another shape."""
    moved = {name: _to(value, getattr(state, name)) for name, value in tensors.items()}
    return state._replace(**moved)


def _to(value: Tensor | tuple[Tensor, ...], own: Tensor | tuple[Tensor, ...]) -> Any:
    if isinstance(value, tuple) and isinstance(own, tuple) and len(value) == len(own):
        return tuple(_to(v, o) for v, o in zip(value, own, strict=True))
    if isinstance(value, Tensor) and isinstance(own, Tensor) and value.shape == own.shape:
        return value.to(own.device)
    raise ValueError("the saved state is from another operator or prior. Use the same ones, or start over.")
