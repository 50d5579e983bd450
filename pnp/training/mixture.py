"""What examples are drawn from: photographs of several origins, their colours changed or not, and rendered pictures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Mixture:
    """The shares of each origin of a patch, in [0, 1].

    whole: of photographs, those as they are in their files, which are JPEGs mostly.
    jpeg: of photographs, small copies that are saved as JPEG with their colour at half the resolution.
    The others are reduced at least twofold with no lossy step after that: `halved` of these by means of 2×2 pixels, the
    rest by Lanczos to another size.
    jitter: of photographs, those whose colours are changed.  synthetic: of all patches, those that are rendered.
    """

    jpeg: float = 0.25
    whole: float = 0.0
    halved: float = 1 / 3
    jitter: float = 0.0
    synthetic: float = 0.0

    def __post_init__(self) -> None:
        for name, share in asdict(self).items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share:g}; expected a share from 0 to 1.")
        if self.jpeg + self.whole > 1:
            raise ValueError(f"jpeg and whole are {self.jpeg:g} and {self.whole:g}; expected at most 1 together.")

    def weights(self, there: Collection[str]) -> dict[str, float]:
        """The share of each size of one photograph, of those `there`; a small one has no copies, or only its half."""
        lossless = 1 - self.jpeg - self.whole
        shares = {"small": lossless * (1 - self.halved), "halved": lossless * self.halved}
        shares |= {"jpeg": self.jpeg, "whole": self.whole}
        for name, other in (("jpeg", "whole"), ("small", "halved"), ("halved", "whole")):
            if name not in there:
                shares[other] += shares.pop(name)
        return {name: share for name, share in shares.items() if share > 0}
