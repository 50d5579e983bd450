"""Operators that are made for images of one size."""

from __future__ import annotations

from torch import Tensor

from .base import Operator


class SizedOperator(Operator):
    """An operator from images of the one shape `x_shape` = (C, H, W) to measurements of the one shape `y_shape`.

    Both are without the batch.  Subclasses open `forward` and `adjoint` with `check_image` and `check_measurement`.
    """

    def __init__(self, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(x_shape) != 3 or min(x_shape) < 1:
            raise ValueError(f"image_shape is {tuple(x_shape)}; expected (C, H, W).")
        channels, height, width = map(int, x_shape)
        self.x_shape = (channels, height, width)
        self.y_shape = tuple(map(int, y_shape))

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        if y_shape is not None:
            _check(("B", *y_shape), "y", f"{self.name} makes", self.y_shape)
        return self.x_shape

    def measurement_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        _check(("B", *image_shape), "x", f"{self.name} takes", self.x_shape)
        return self.y_shape

    def check_image(self, x: Tensor, name: str = "x") -> None:
        _check(tuple(x.shape), name, f"{self.name} takes", self.x_shape)

    def check_measurement(self, y: Tensor) -> None:
        _check(tuple(y.shape), "y", f"{self.name} makes", self.y_shape)


def _check(shape: tuple[int | str, ...], name: str, does: str, expected: tuple[int, ...]) -> None:
    if tuple(shape[1:]) != expected:
        got = ", ".join(map(str, shape))
        raise ValueError(f"{name} has shape ({got}); {does} (B, {', '.join(map(str, expected))}).")
