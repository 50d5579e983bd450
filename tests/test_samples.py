"""The bundled photographs are scikit-image's bytes over 255, and none of them is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from pnp.samples import COLOUR, PHOTOGRAPHS, photograph


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_its_bytes_in_the_range_from_0_to_1(name: str) -> None:
    x, stored = photograph(name), np.atleast_3d(getattr(skimage.data, name)())
    assert x.dtype == torch.float32 and x.is_contiguous() and x.shape[:2] == (1, 3 if name in COLOUR else 1)
    assert np.array_equal((255 * x[0]).round().byte().permute(1, 2, 0).numpy(), stored)  # planted: x.mT is another one
    assert x.equal(photograph(name, torch.float64).float()) and not x.mT.equal(x)


def test_no_photograph_is_downloaded() -> None:
    here = {path.stem for path in Path(skimage.data.__file__).parent.iterdir()}
    assert set(PHOTOGRAPHS) <= here and "eagle" not in here  # planted: one that scikit-image would fetch


def test_an_unknown_photograph_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="Did you mean 'camera'"):
        photograph("kamera")
