"""What the trainer draws and judges by: shares of origins, other colours, rendered pictures, held-out origins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import get_data_path
from skimage.data import astronaut
from torch import Tensor

from pnp.training import synthetic
from pnp.training.jitter import jittered
from pnp.training.leaves import leaves
from pnp.training.mixture import Mixture
from pnp.training.objectives.denoising import by_origin
from pnp.training.origins import origins
from pnp.training.pages import Printer
from pnp.training.patches import PatchPool
from pnp.training.run import TrainSettings, growing
from pnp.training.synthetic import Scenes

FONTS = sorted(Path(get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))[:4]


def colour() -> Tensor:
    return torch.from_numpy(astronaut()).permute(2, 0, 1).contiguous()


def scenes(channels: int = 3, stream: int = 0, side: int = 96) -> Scenes:
    return Scenes([colour()[:channels]], Printer(FONTS), side, stream)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("there", [{"whole"}, {"whole", "halved"}, {"whole", "halved", "jpeg", "small"}], ids=len)
@pytest.mark.parametrize("mixture", [Mixture(), Mixture(jpeg=0), Mixture(jpeg=0.75, whole=0.125, halved=1.0)])
def test_the_shares_of_a_photograph_add_up_to_one(there: set[str], mixture: Mixture) -> None:
    weights = mixture.weights(there)
    assert sum(weights.values()) == pytest.approx(1) and set(weights) <= there
    assert all(share > 0 for share in weights.values())


def test_a_mixture_says_which_share_is_wrong() -> None:
    for shares, says in (({"jitter": 1.5}, "jitter is 1.5"), ({"jpeg": 0.7, "whole": 0.7}, "at most 1 together")):
        with pytest.raises(ValueError, match=says):
            Mixture(**shares)


def test_without_jpeg_no_patch_of_a_large_photograph_is_from_its_file() -> None:
    photograph = torch.randint(256, (1, 700, 800), dtype=torch.uint8)
    pool = PatchPool([photograph], mixture=Mixture(jpeg=0))
    assert [tuple(p.shape) for _, p in pool.sizes[0]][1] == (1, 350, 400)
    assert all(min(p.shape[1:]) <= 350 for _, p in pool.sizes[0])


def test_the_share_of_rendered_patches_is_the_one_asked_for() -> None:
    """Photographs are dark, rendered pictures bright."""
    dark = torch.randint(100, (1, 200, 200), dtype=torch.uint8)
    bright = Scenes([dark], None, 96)
    bright.made = {i: torch.randint(128, 256, (1, 96, 96), dtype=torch.uint8) for i in range(bright.stock)}
    pool = PatchPool([dark], mixture=Mixture(synthetic=0.3), scenes=bright)
    means = pool.draw(1000, 16, generator()).mean((1, 2, 3))
    assert abs(float((means > 0.5).float().mean()) - 0.3) < 0.05
    with pytest.raises(ValueError, match="needs scenes"):
        PatchPool([dark], mixture=Mixture(synthetic=0.3))


def test_a_new_pool_draws_the_same_patches_from_the_same_generator() -> None:
    def drawn(seed: int) -> list[Tensor]:
        pool = PatchPool([colour()], mixture=Mixture(jitter=0.5, synthetic=0.5), scenes=scenes())
        begun = generator(seed)
        return [pool.draw(4, 32, begun) for _ in range(2)]

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_jitter_stays_in_range_and_reaches_what_photographs_do_not() -> None:
    x = 0.3 + 0.3 * colour()[:, 100:164, 100:164].float() / 255
    made = [jittered(x, np.random.default_rng(i)) for i in range(40)]
    assert all(y.shape == x.shape and float(y.min()) >= 0 and float(y.max()) <= 1 for y in made)

    def saturation(y: Tensor) -> float:
        return float((y.amax(0) - y.amin(0)).mean())

    assert max(map(saturation, made)) > 2 * saturation(x) and min(map(saturation, made)) < 0.5 * saturation(x)
    assert max(float(y.max() - y.min()) for y in made) > 1.5 * float(x.max() - x.min())
    assert torch.equal(made[3], jittered(x, np.random.default_rng(3))) and not torch.equal(made[3], made[4])


def test_jitter_of_a_grey_picture_changes_brightness_alone() -> None:
    """Gamma and contrast keep the order of the values."""
    x = torch.linspace(0.2, 0.7, 64).reshape(1, 8, 8)
    made = [jittered(x, np.random.default_rng(i)) for i in range(20)]
    assert all((y.flatten().diff() >= 0).all() for y in made) and any(not torch.equal(y, x) for y in made)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_scene_is_the_same_whenever_it_is_asked_for(channels: int) -> None:
    a, b = scenes(channels), scenes(channels)
    forwards = [a[i] for i in range(6)]
    backwards = [b[i] for i in reversed(range(6))][::-1]
    assert all(torch.equal(p, q) for p, q in zip(forwards, backwards, strict=True))
    assert all(p.shape == (channels, 96, 96) and p.dtype == torch.uint8 for p in forwards)
    assert not torch.equal(scenes(channels, stream=1)[0], a[0])


def test_leaves_have_the_colours_of_the_photograph_and_edges() -> None:
    colours = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    picture = leaves(64, colours, np.random.default_rng(0)).astype(int)
    assert picture.shape == (64, 64, 3) and picture[..., 1].max() == 0  # mixtures of red and blue
    assert abs(picture[..., 0] + picture[..., 2] - 255).max() <= 4
    assert np.abs(np.diff(picture[..., 0], axis=0)).max() > 150


def test_drawings_have_flat_parts_and_saturated_colours() -> None:
    made = torch.stack([scenes().of("drawings", np.random.default_rng(i)) for i in range(6)]).float() / 255
    assert float((made.amax(1) - made.amin(1)).max()) > 0.8
    assert float((made.diff(dim=3) == 0).float().mean()) > 0.5


def test_without_fonts_no_text_is_rendered_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "installed", list)
    with pytest.warns(UserWarning, match="no font is installed, so no text is rendered"):
        assert synthetic.printers() == (None, None)
    bare = Scenes([colour()], None, 64)
    assert all(bare[i].shape == (3, 64, 64) for i in range(8))
    with pytest.raises(ValueError, match="text needs a font"):
        bare.of("text", np.random.default_rng(0))
    assert "text" not in origins([colour()], None)


def test_fonts_that_judge_do_not_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "installed", lambda: FONTS)
    train, judge = (printer.fonts for printer in synthetic.printers())
    assert train and judge and not {f for f, _ in train} & {f for f, _ in judge}


def test_a_denoiser_is_judged_by_several_origins() -> None:
    """One photograph is grey with a colourful corner."""
    photograph = colour().float().mean(0, keepdim=True).expand(3, -1, -1).to(torch.uint8).clone()
    photograph[:, :256, 256:] = torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    found = origins([photograph], Printer(FONTS))
    assert list(found) == ["reduced", "jpeg", "saturated", "drawings", "text"]
    assert found["reduced"][0].shape == found["jpeg"][0].shape == (3, 128, 128)
    assert 0 < float((found["reduced"][0].float() - found["jpeg"][0].float()).abs().mean()) < 10
    assert float((found["saturated"][0][0] == 255).float().mean()) > 0.4  # of the picture it is a quarter
    assert "saturated" not in origins([photograph[:1]], None)


def test_each_origin_counts_alike() -> None:
    pictures = {"few": [torch.zeros(1)], "many": 9 * [torch.ones(1)]}
    found = by_origin(pictures, {"25": lambda x: 20 + 10 * float(x)})
    assert found == {"psnr": {"25": 25.0}, "origins": {"few": {"25": 20.0}, "many": {"25": 30.0}}}


def test_patches_grow_to_the_side_that_is_asked_for() -> None:
    settings = TrainSettings("unet", steps=10, **growing(64, 160))
    assert [settings.shape(at) for at in (0.0, 0.7, 0.9)] == [(32, 64), (12, 96), (5, 160)]
    assert settings.largest() == 160 and TrainSettings("unet", steps=10).largest() == 128


def test_a_network_of_pages_has_no_mixture() -> None:
    assert not TrainSettings("text", steps=1).objective().mixed
