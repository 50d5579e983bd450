"""What a measured kernel needs before it can be used: no background, one centre, no frame of zeros.

Arrays are float64 (C, h, w).  Each step says in words what it did, and leaves an array that does not need it as it is,
bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EIGHT = np.ones((3, 3), dtype=bool)  # a pixel and its eight neighbours


class Background(NamedTuple):
    """What the rim of an array holds beside the kernel: a level, and the std of its noise."""

    level: float
    noise: float


def mended(
    k: np.ndarray,
    said: list[str],
    *,
    centre: bool = True,
    negative: bool = False,
    turn: int = 0,
    scale: float = 1.0,
    limit: tuple[int, ...] | None = None,
) -> np.ndarray:
    """The kernel in k, (C, h, w); what was changed is added to `said`.

    negative: values below 0 are part of the kernel.  limit: (H, W) that it has to fit into.
    turn, scale, centre: see `kernel_files.from_file`.  Raises ValueError for what is not a kernel.
    """
    before = k = np.rot90(k, turn // 90, (1, 2))
    grounds = [background(plane) for plane in k]
    if negative and any(g.level < 0 for g in grounds):  # a lobe, not a background
        grounds = [Background(0.0, 0.0)] * len(k)
    if any(g != (0, 0) for g in grounds):
        levels = ", ".join(f"{g.level:.4g}" for g in grounds)
        said.append(f"a background of {levels} was subtracted, which its rim shows")
        k = k - np.array([g.level for g in grounds])[:, None, None]
    k = _unwrapped(k, grounds, said)
    k = np.stack([core(plane, g.noise) for plane, g in zip(k, grounds, strict=True)])
    if not (k.sum((1, 2)) > 0).all():
        raise ValueError("nothing in it stands out of its background.")
    if not negative:
        k = _clipped(k, said)
    _check_compact(k)
    if scale != 1:
        k = resampled(k, _middle(k), scale)
    if centre:
        k = _centred(k, max(g.noise for g in grounds) if scale == 1 else 0.0, said)
    return _trimmed(k, not np.array_equal(k, before), limit, said)


def concentration(k: np.ndarray) -> float:
    """sum z² / (sum z)², z the array without its background: 1 over the number of pixels that hold the light."""
    ground = background(k if k.ndim == 2 else k.mean(0))
    z = core((k if k.ndim == 2 else k.mean(0)) - ground.level, ground.noise).clip(0)
    return float((z**2).sum() / max(z.sum() ** 2, 1e-300))


def background(k: np.ndarray) -> Background:
    """The background of one plane (h, w), if its rim shows one; else (0, 0).

    Robust: at least half of the outermost pixels have to agree on a level, so a kernel may touch the rim.  A kernel's
    own tail is not a background: it varies along the rim by more than a tenth of itself, and smoothly, where noise
    jumps from pixel to pixel (von Neumann's ratio).
    """
    nothing = Background(0.0, 0.0)
    if min(k.shape) < 5:
        return nothing
    rim = _rim(k)
    noise = 1.4826 * float(np.median(np.abs(np.diff(rim)))) / 2**0.5
    level = float(np.quantile(rim, 0.25))
    for _ in range(5):
        kept = np.abs(rim - level) <= 4 * noise + 0.1 * abs(level)
        if kept.mean() < 0.5:
            return nothing
        level, noise = float(np.median(rim[kept])), float(rim[kept].std())
    if level == 0 and (rim[kept] != 0).mean() < 0.25:  # dark, but for the end of a tail
        return nothing
    jumps = float((np.diff(rim)[kept[1:] & kept[:-1]] ** 2).mean()) / 2
    smooth = noise > 0.1 * abs(level) and jumps < 0.35 * noise**2
    light = (k - level).clip(0).sum()
    buried = k.max() - level <= max(6 * noise, 0.05 * abs(level))
    if smooth or buried or (abs(level) + noise) * k.size <= 0.003 * light:
        return nothing
    return Background(level, noise)


def core(z: np.ndarray, noise: float) -> np.ndarray:
    """z where it is connected to what stands out of the noise, 0 elsewhere and where z is below 0.

    Connected: through pixels whose mean over 3 × 3 is three of its standard deviations, noise / 3, and one pixel on.
    """
    if noise == 0:
        return z
    from scipy import ndimage

    labels, n = ndimage.label(ndimage.uniform_filter(z, 3, mode="constant") > noise, EIGHT)
    peaks = np.asarray(ndimage.maximum(z, labels, range(1, n + 1)))
    kept = np.isin(labels, 1 + np.flatnonzero(peaks > max(6 * noise, 0.05 * z.max())))
    return np.where(ndimage.binary_dilation(kept, EIGHT), z.clip(0), 0.0)


def resampled(k: np.ndarray, centre: tuple[float, float], scale: float = 1.0) -> np.ndarray:
    """The kernel with `centre` on the middle pixel of an odd array, its pixels `scale` times as large as the new ones.

    k is interpolated by Keys' cubic, and averaged over what a new pixel covers beyond an old one: 1 − scale² in squared
    width, so that variances follow scale² var + (1 − scale²)/12.  Each channel keeps its sum.  Keys 1981.
    """
    out = k
    for axis, (n, c) in enumerate(zip(k.shape[1:], centre, strict=True), start=1):
        half = int(np.ceil(scale * max(c + 0.5, n - 0.5 - c) - 0.5 + 1e-9)) + (c % 1 != 0)
        width = max(0.0, 1 - scale**2) ** 0.5
        within = (np.arange(16) + 0.5) / 16 - 0.5 if width else np.zeros(1)
        at = (np.arange(-half, half + 1)[:, None] + width * within) / scale + c
        weights = _keys(at[..., None] - np.arange(n)).mean(1)  # (new, old)
        out = np.moveaxis(np.moveaxis(out, axis, -1) @ weights.T, -1, axis)
        out = out if k.min() < 0 else out.clip(0)
    return out * (k.sum((1, 2)) / out.sum((1, 2)))[:, None, None]


def _keys(t: np.ndarray) -> np.ndarray:
    """Keys' cubic, a = −1/2."""
    t = np.abs(t)
    return np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0.0))


def _rim(k: np.ndarray) -> np.ndarray:
    """The outermost pixels of (h, w), once around."""
    return np.concatenate([k[0], k[1:, -1], k[-1, -2::-1], k[-2:0:-1, 0]])


def _middle(k: np.ndarray) -> tuple[float, float]:
    return (k.shape[1] - 1) / 2, (k.shape[2] - 1) / 2


def _flat(k: np.ndarray) -> np.ndarray:
    """The mean of the channels, each of sum 1."""
    return (k / k.sum((1, 2), keepdims=True)).mean(0)


def _unwrapped(k: np.ndarray, grounds: list[Background], said: list[str]) -> np.ndarray:
    """k with its middle at h//2, w//2, where it lies around pixel (0, 0) of a periodic array."""
    floor = np.array([3 * g.noise for g in grounds])[:, None, None]
    z = np.where(k > floor, k, 0.0).clip(0).sum(0)
    shift = (k.shape[1] // 2, k.shape[2] // 2)
    if min(shift) < 2 or _variance(z) < 4 * _variance(np.roll(z, shift, (0, 1))):
        return k
    if min(z[0, 0], z[0, -1] + z[-1, 0] + z[-1, -1]) == 0:
        return k  # not at the four corners
    said.append("it lies at the four corners, so it was moved to the middle (fftshift)")
    return np.roll(k, shift, (1, 2))


def _moments(z: np.ndarray) -> tuple[np.ndarray, float]:
    """(centre of mass, variance about it) of (h, w)."""
    rows, columns = z.sum(1), z.sum(0)
    at = [np.arange(len(m)) for m in (rows, columns)]
    mean = np.array([float((m * i).sum() / m.sum()) for m, i in zip((rows, columns), at, strict=True)])
    both = zip((rows, columns), at, mean, strict=True)
    return mean, sum(float((m * (i - c) ** 2).sum() / m.sum()) for m, i, c in both)


def _variance(z: np.ndarray) -> float:
    return _moments(z)[1] if z.sum() > 0 else np.inf


def _clipped(k: np.ndarray, said: list[str]) -> np.ndarray:
    """k without its values below 0, which a kernel of light does not have."""
    share = float(-k.clip(max=0).sum() / k.clip(0).sum())
    if share == 0:
        return k
    if share > 0.1:
        raise ValueError(f"{share:.0%} of it is negative. Subtract its background, or give it as measured.")
    if share > 1e-6:
        said.append(f"values below 0 ({share:.2g} of the sum) were set to 0")
    return k.clip(0)


def _check_compact(k: np.ndarray) -> None:
    """ValueError for a photograph: bright up to the rim, or half of its light on an eighth of a large array.

    A plateau passes, because a box or a disk may fill the window that it was cut out with.
    """
    z = _flat(k)
    lit = z[z > 0]
    contrast = lit.std() / lit.mean()  # 0 for a plateau
    brightest = np.sort(z, axis=None)[::-1].cumsum()
    spread = min(z.shape) >= 48 and contrast > 0.25 and np.searchsorted(brightest, 0.5) > z.size / 8
    if spread or (min(z.shape) >= 24 and contrast > 0.1 and np.median(_rim(z)) > 0.4 * z.mean()):
        raise ValueError(
            "its light is spread over the whole frame, as in a photograph. Expected the picture of a point, dark "
            "around it."
        )


def _centred(k: np.ndarray, noise: float, said: list[str]) -> np.ndarray:
    """k moved so that its centroid is the middle of an odd array, if the array does not say otherwise.

    A kernel that is symmetric about a point has one centre, and is moved there to the fraction of a pixel.  Of any
    other, a path of the camera for example, the centre is a convention: the array's stands if the peak, the middle of
    the support or the centroid is there, and a move is by whole pixels.  The centroid is that of k²: bright pixels tell
    the place, and noise does not.
    """
    z = _flat(k)
    middle = np.array(z.shape) // 2  # the tap at offset 0
    inside = z > 0
    (mean, _), (centroid, _) = _moments(z), _moments(z**2)  # the same where it is symmetric
    noisy = int(inside.sum()) * (noise / k.sum() * len(k)) ** 2 / float((z**2).sum())
    if _symmetry(z, mean) > 0.99 - 2 * noisy:
        goal = np.where(np.abs(centroid - np.rint(centroid)) < 0.05, np.rint(centroid), centroid)
    else:
        peak = np.array(np.unravel_index(int(z.argmax()), z.shape))
        box = np.array([(np.flatnonzero(inside.any(1 - i))[[0, -1]]).mean() for i in (0, 1)])
        spare = 0.75 + np.array([n % 2 == 0 for n in z.shape]) / 4  # the middle of an even array is half a pixel before
        if any((np.abs(place - middle) <= spare).all() for place in (peak, box, centroid)):
            return k
        goal = np.rint(centroid)
    if (goal == middle).all():
        return k
    down, right = middle - goal
    said.append(f"it was moved {down:+.4g} rows and {right:+.4g} columns to its centroid (centre=false leaves it)")
    return resampled(k, (float(goal[0]), float(goal[1])))


def _symmetry(z: np.ndarray, centre: np.ndarray) -> float:
    """Correlation of z with itself turned by 180° about `centre`, which need not lie on a pixel."""
    h, w = (2 * n for n in z.shape)
    spectrum = np.fft.fft2(z, (h, w))
    rows, columns = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)
    turned = np.exp(4j * np.pi * (centre[0] * rows + centre[1] * columns))
    return float((spectrum**2 * turned).sum().real / (np.abs(spectrum) ** 2).sum())


def _trimmed(k: np.ndarray, changed: bool, limit: tuple[int, ...] | None, said: list[str]) -> np.ndarray:
    """k without rings of zeros: all of them if it was changed, else a frame that is wider than the kernel inside.

    A kernel that is larger than `limit` loses rings of up to 0.1 % of its sum, too.
    """
    inner = _ringless(k, 1e-12)
    if not changed and max(n / m for n, m in zip(k.shape[1:], inner.shape[1:], strict=True)) < 3:
        inner = k
    if limit is not None and any(n > m for n, m in zip(inner.shape[1:], limit, strict=True)):
        whole, inner = inner, _ringless(inner, 1e-3)
        if inner.shape != whole.shape:
            said.append(f"its rim, {1 - inner.sum() / whole.sum():.1g} of the sum, was cut off to fit the picture")
    return inner


def _ringless(k: np.ndarray, share: float) -> np.ndarray:
    """k without outer rows and columns, taken off in pairs, that hold less than `share` of the sum."""
    total = np.abs(k).sum()
    for axis in (1, 2):
        sums = np.abs(k).sum((0, 3 - axis))
        n = len(sums)
        pairs = np.cumsum(sums[: (n - 1) // 2] + sums[::-1][: (n - 1) // 2])
        off = int((pairs < share * total).sum())
        k = k[(slice(None),) * axis + (slice(off, n - off),)]
    return k
