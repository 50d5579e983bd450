"""What a network is trained for: where its examples come from, its loss and its score; one file each."""

from .base import Objective
from .denoising import Denoising
from .motion import Motion
from .text import Text

OBJECTIVES: dict[str, type[Objective]] = {"denoising": Denoising, "motion": Motion, "text": Text}

__all__ = ["OBJECTIVES", "Denoising", "Motion", "Objective", "Text"]
