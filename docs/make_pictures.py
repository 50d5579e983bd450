"""Make the README's pictures: before and after of its five jobs, by the very commands that it gives.

    python docs/make_pictures.py          (about two minutes; writes docs/pictures/*.jpg)

The files come from examples/sample_files.py; the photographs are in the public domain (CC0).
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "examples"))
# file -> (corner of the part that is shown: row, column; its side)
SHOWN = {"photo": (160, 170, 190), "stack": (4, 4, 190), "scratched": (10, 20, 240), "small": (10, 60, 120),
         "noisy": (30, 50, 180)}  # fmt: skip
WIDE = ("photo", "stack", "scratched", "noisy")
SIDE, THUMB, BAR = 300, 220, 6


def main() -> None:
    from sample_files import write_all

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_all(folder)
        for file in SHOWN:
            found = re.search(rf"`pnp (solve {file}\.[^`]*)`", readme)
            if found is None:
                sys.exit(f"the README has no `pnp solve {file}...`.")
            print(f"+ pnp {found[1]}", flush=True)
            subprocess.run([sys.executable, "-m", "pnp", *shlex.split(found[1])], cwd=folder, check=True)
        pairs = {file: before_after(folder, file) for file in SHOWN}
    (HERE / "pictures").mkdir(exist_ok=True)
    columns = [np.vstack([*(sized(p, SIDE) for p in pairs[file])]) for file in WIDE]
    save("before-after", np.hstack(columns))
    for file, (before, after) in pairs.items():
        save(file, halves(sized(before, THUMB), sized(after, THUMB)))


def before_after(folder: Path, file: str) -> list[np.ndarray]:
    """The shown part of a file and of its result, 8 bits, (side, side, 3) each; both by the same black and white."""
    from pnp.files.pictures import read, read_like

    measured = next(folder.glob(f"{file}.*"))
    before = read(measured, "auto")
    pictures = [before, read_like(folder / f"{file}-restored{measured.suffix}", before)]
    row, column, side = SHOWN[file]
    shown = []
    for picture in pictures:
        x = picture.pixels[0].permute(1, 2, 0).clamp(0, 1).numpy()
        if x.shape[-1] == 1:
            x = np.repeat(x, 3, 2)
        each = side // 2 if file == "small" and x.shape[0] < 200 else side  # the picture is half as large
        top, left = (row, column) if each == side else (row // 2, column // 2)
        shown.append((255 * x[top : top + each, left : left + each]).round().astype(np.uint8))
    return shown


def sized(x: np.ndarray, side: int) -> np.ndarray:
    """x at another size: enlarged pixels stay squares where they are large, as a person sees them."""
    return np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC))


def halves(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The left half before, the right half after, with a white line between."""
    middle = before.shape[1] // 2
    joined = Image.fromarray(np.hstack([before[:, :middle], after[:, middle:]]))
    ImageDraw.Draw(joined).line([(middle, 0), (middle, joined.height)], fill="white", width=2)
    return np.asarray(joined)


def save(name: str, x: np.ndarray) -> None:
    Image.fromarray(x).save(HERE / "pictures" / f"{name}.jpg", quality=88, optimize=True)
    print(f"wrote docs/pictures/{name}.jpg, {x.shape[1]} × {x.shape[0]}")


if __name__ == "__main__":
    main()
