"""Raw files of cameras by rawpy.  Imported where used: rawpy is an extra."""

from __future__ import annotations

from pathlib import Path

import rawpy

from . import colours, exif, size
from .formats import Meta, Stored


def read(path: Path) -> Stored:
    """Demosaicked and upright, white balance of the camera, sRGB of 16 bits; the sensor's white is white."""
    with rawpy.imread(str(path)) as raw:
        size.check((raw.sizes.raw_height, raw.sizes.raw_width), 2, path.stat().st_size)
        samples = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            output_color=rawpy.ColorSpace.sRGB,
            gamma=(2.4, 12.92),  # of sRGB
        )
    return Stored(samples[None], 65535.0, "RAW", 1, Meta(icc=colours.srgb(), exif=exif.from_tiff(path)))
