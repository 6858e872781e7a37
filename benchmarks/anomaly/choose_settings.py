"""Validation losses of candidates for the family "tables", on two data sets: what its latent and width were chosen by.

No test row is read. The constant that the mse likelihood leaves out (concepts.md) is added, so all losses compare.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from model_settings import SETTINGS
from public_data import adbench, split

from vae_edge.training import train

DATA_SETS = ("thyroid", "cardio")
LATENTS, WIDTHS = (2, 4, 8), (64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adbench", type=Path, required=True)
    folder: Path = parser.parse_args().adbench
    print("likelihood,latent,width," + ",".join(DATA_SETS) + ",sum")
    for setting, latent, width in itertools.product(SETTINGS["tables"], LATENTS, WIDTHS):
        losses = []
        for name in DATA_SETS:
            rows = split(name, *adbench(folder, name), seed=0).training
            config = replace(setting, latent=latent, width=width).training(rows.shape[1:], seed=0)
            with tempfile.TemporaryDirectory() as run:
                loss = train(config, rows, out=run).best_validation_loss
            left_out = 0.5 * rows.shape[1] * math.log(math.pi) if setting.likelihood == "mse" else 0.0
            losses.append(loss + left_out)
        figures = ",".join(f"{loss:.2f}" for loss in [*losses, sum(losses)])
        print(f"{setting.likelihood},{latent},{width},{figures}", flush=True)


if __name__ == "__main__":
    main()
