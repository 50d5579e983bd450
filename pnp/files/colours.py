"""Colours that are not RGB, brought there."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageCms


def srgb() -> bytes:
    """The profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def from_cmyk(im: Image.Image, icc: bytes | None, name: object) -> tuple[Image.Image, bytes | None]:
    """A CMYK picture as sRGB through its profile, with sRGB's; by 1 − ink where it has none.  Warns which."""
    if icc:
        try:
            there = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            made = ImageCms.profileToProfile(
                im,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                there,
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError):
            warnings.warn(f"{name}: its CMYK profile cannot be used.", stacklevel=2)
        else:
            warnings.warn(f"{name}: CMYK colours become sRGB, through the profile of the file.", stacklevel=2)
            return made, there.tobytes()  # type: ignore[return-value]
    warnings.warn(f"{name}: CMYK colours without a profile become RGB by a plain formula.", stacklevel=2)
    return im.convert("RGB"), None


def ink(samples: np.ndarray) -> Image.Image:
    """(H, W, 4) of 8 or 16 bits as a CMYK picture of 8."""
    return Image.frombytes("CMYK", samples.shape[1::-1], (samples >> 8 * (samples.itemsize - 1)).astype("u1").tobytes())
