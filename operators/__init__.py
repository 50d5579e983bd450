"""Linear operators: what the camera did."""

from . import kernels, recipes
from .base import Operator, dot_test
from .blur import Blur, PaddedBlur, ValidBlur

__all__ = ["Blur", "Operator", "PaddedBlur", "ValidBlur", "dot_test", "kernels"]
