"""Start-up times of fresh processes: torch alone, torch and pnp, `pnp.solve`, and `pnp --help`.

    python benchmarks/startup.py          (--quick: 2 runs of each)

Medians of 9 runs, interleaved.  Expected: pnp at most 0.1 s over torch; help under 0.4 s.
"""

from __future__ import annotations

import subprocess
import sys

from common import arguments, median_time, save

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import torch, pnp": ["-c", "import torch, pnp"],
    "import pnp; pnp.solve": ["-c", "import pnp; pnp.solve"],
    "pnp --help": ["-m", "pnp", "--help"],
}


def works(command: list[str]) -> bool:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(command)} fails: {(done.stderr.splitlines() or ['no message'])[-1]}")
    return done.returncode == 0


def run(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    options = arguments(__doc__).parse_args()
    usable = {name: command for name, command in COMMANDS.items() if works(command)}
    times = median_time({n: lambda c=c: run(c) for n, c in usable.items()}, 2 if options.quick else 9)
    torch_alone = times["import torch"]["median"]
    for name, t in times.items():
        over = f"{t['median'] - torch_alone:+8.3f} over torch" if "pnp" in name and "help" not in name else ""
        print(f"{name:24s}{t['median']:8.3f} s ({t['low']:.3f} – {t['high']:.3f}){over}")
    if not options.quick:
        print(save("startup", times, runs=9))


if __name__ == "__main__":
    main()
