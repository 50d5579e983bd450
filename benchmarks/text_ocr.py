"""Errors that a reader makes on blurred pages, as they are, restored by `text`, and by a kernel that was estimated.

    python benchmarks/text_ocr.py --fonts FOLDER...          (--quick: one page, writes nothing)

Pages of English words in fonts that the network has not seen, black on white, 360 × 480 pixels, letters of 20 to 30
pixels.  Each is blurred by a shake of 5 to 21 pixels, by defocus of radius 1 to 5, or not at all, with noise of 0 to
7/255, in 8 bits.  The reader is tesseract (it has to be installed), on pages enlarged twice.  The character error rate
is the Levenshtein distance to the printed text over its length, at most 1.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import arguments, save
from PIL import Image
from torch import Tensor

from pnp.jobs import Job, run
from pnp.jobs.unknown import NothingFound
from pnp.operators import ValidBlur, kernels
from pnp.training.objectives import Text
from pnp.training.objectives.text import centred
from pnp.training.pages import scripts, typeset

PAGE, MARGIN, EACH = (360, 480), 24, 12
BLURS = ("shake", "defocus", "none")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--fonts", nargs="+", default=["/usr/share/fonts"], help="files or folders of fonts")
    parser.add_argument("--blind", action="store_true", help="estimate the kernels too, and restore by unet")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if shutil.which("tesseract") is None:
        sys.exit("install tesseract first: apt-get install tesseract-ocr")
    fonts = [f for f in Text.files(options.fonts) if "latin" in scripts(f)]
    number = 1 if options.quick else EACH
    rows = [row(fonts, blur, i, options.blind) for blur in BLURS[: 1 if options.quick else 3] for i in range(number)]
    print(summed(rows))
    if not options.quick:
        names = sorted({f.parent.name for f in fonts})
        print(save("text_ocr", {"summary": summed(rows), "rows": rows}, page=PAGE, fonts=names))


def row(fonts: list[Path], blur: str, i: int, blind: bool) -> dict[str, Any]:
    drawn = random.Random(f"{blur} {i}")
    font, size = drawn.choice(fonts), drawn.randint(20, 30)
    words = drawn.choices(vocabulary(), k=200)
    x, lines = typeset(words, font, size, (PAGE[0] + 2 * MARGIN, PAGE[1] + 2 * MARGIN))
    kernel = torch.ones(1, 1, dtype=torch.float64)
    length, radius, sigma = drawn.uniform(5, 21), drawn.uniform(1, 5), drawn.uniform(0, 7) / 255
    if blur == "shake":
        kernel = centred(kernels.shake(length, seed=drawn.randrange(10**6)))
    elif blur == "defocus":
        kernel = kernels.disk(radius)
    u = ValidBlur(kernel)(x[None])
    generator = torch.Generator().manual_seed(i)
    y = (255 * (u + sigma * torch.randn(u.shape, generator=generator))).round().clamp(0, 255) / 255
    printed = " ".join(lines)
    found: dict[str, Any] = {"blur": blur, "page": i, "font": font.stem, "size": size, "sigma": 255 * sigma}
    found |= {"length": length} if blur == "shake" else {"radius": radius} if blur == "defocus" else {}
    begun = time.perf_counter()
    restored = run(Job("unknown", "text", floor=12**-0.5 / 255, range=(0.0, 255.0)), y).restored
    found["seconds"] = time.perf_counter() - begun
    ways = {"sharp": x[None], "blurred": y, "text": restored}
    if blind:
        ways["estimated"] = by_kernel(y)
    found |= {name: error_rate(read(page), printed) for name, page in ways.items()}
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
    return found


def by_kernel(y: Tensor) -> Tensor:
    """By a kernel that was estimated, believed or not; y itself where none is found."""
    try:
        job = Job("blur:kernel=estimate", "unet", floor=12**-0.5 / 255, range=(0.0, 255.0), guard=False)
        return run(job, y).restored
    except NothingFound:
        return y


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean character error rate of each way, by blur."""
    ways = [name for name in ("sharp", "blurred", "text", "estimated") if name in rows[0]]
    groups = {blur: [r for r in rows if r["blur"] == blur] for blur in dict.fromkeys(r["blur"] for r in rows)}
    groups["blurred pages"] = [r for r in rows if r["blur"] != "none"]
    return {blur: {way: mean(r[way] for r in members) for way in ways} for blur, members in groups.items()}


def vocabulary() -> list[str]:
    """English words with their points and commas: those of this project's licence."""
    text = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
    return [word for word in text.split() if re.fullmatch(r"[A-Za-z]+[.,]?", word)]


def read(page: Tensor) -> str:
    """What tesseract reads on a page (1, C, H, W)."""
    grey = (255 * page[0].mean(0).clamp(0, 1)).round().to(torch.uint8).numpy()
    picture = Image.fromarray(grey)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.png")
        picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC).save(path)
        command = ["tesseract", str(path), "-", "--psm", "6", "-l", "eng"]
        return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def error_rate(seen: str, printed: str) -> float:
    """Levenshtein distance over the length of what was printed, at most 1."""
    before = list(range(len(seen) + 1))
    for i, a in enumerate(printed, 1):
        now = [i]
        for j, b in enumerate(seen, 1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (a != b)))
        before = now
    return min(1.0, before[-1] / len(printed))


if __name__ == "__main__":
    main()
