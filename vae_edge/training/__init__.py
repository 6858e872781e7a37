"""Training a reference VAE: the on-ramp, plain and reproducible."""

from .config import EpochReport, TrainConfig, TrainResult
from .loop import train
from .run_folder import Run, load_run

__all__ = ["EpochReport", "Run", "TrainConfig", "TrainResult", "load_run", "train"]
