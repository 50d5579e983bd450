"""A device other than the CPU, played by tensors that refuse to mix with those of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

META = torch.device("meta")
# views that torch reads as conjugate or negative above this place: below it they would be read as they were
LAZY = {
    torch.ops.aten._conj.default: torch.ops.aten._conj_physical.default,
    torch.ops.aten._neg_view.default: torch.ops.aten.neg.default,
}
CROSSING = {"_to_copy", "copy_", "_local_scalar_dense", "equal"}


class There(Tensor):
    """A tensor that says it is elsewhere, and holds its numbers on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=META
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def item(self) -> Any:
        return self.held.item()

    def tolist(self) -> Any:
        return self.held.tolist()


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on what is held; a tensor of the CPU beside one from there is an error, as on a real device."""
    function = LAZY.get(function, function)
    name, kwargs = function.overloadpacket.__name__, dict(kwargs)
    found: list[Tensor] = []
    tree_map(lambda t: found.append(t) if isinstance(t, Tensor) else None, (args, kwargs))
    away = any(isinstance(t, There) for t in found)
    here = [t for t in found if not isinstance(t, There) and t.ndim]
    indices = name.startswith(("index", "_index", "_unsafe_index"))
    if away and here and name not in CROSSING and not (indices and all(t.dtype == torch.int64 for t in here)):
        raise RuntimeError(f"{name}: a tensor of the CPU beside one of the device")
    target = kwargs.get("device")
    there = away if target is None else torch.device(target).type == "meta"
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    held = function(*tree_map(bare, args), **tree_map(bare, kwargs))
    if "out" in kwargs:
        return kwargs["out"]
    if name.endswith("_") and not name.endswith("__") and args and isinstance(args[0], Tensor):
        return args[0]
    return tree_map(lambda t: There(t) if there and isinstance(t, Tensor) else t, held)


def bare(t: Any) -> Any:
    return t.held if isinstance(t, There) else t


class Made(TorchFunctionMode):
    """What is made of numbers for there is there: torch would leave it without them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == META:
            del kwargs["device"]
            made = function(*args, **kwargs)
            return made if isinstance(made, There) else There(made)
        return function(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """What is made with device=meta comes from there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


@contextmanager
def played() -> Iterator[torch.device]:
    """The device, while it is played: what is made with device=meta holds numbers.

    Torch refuses a context of half precision for it, and of inference for its tensors; here they do nothing.
    """
    with pytest.MonkeyPatch.context() as patch, Elsewhere(), Made():
        patch.setattr(torch, "inference_mode", lambda on=True: torch.no_grad() if on else nullcontext())
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        yield META
