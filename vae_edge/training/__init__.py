"""Training a reference VAE: the on-ramp, plain and reproducible."""

from .config import EpochReport, TrainConfig, TrainResult
from .loop import train
from .run_folder import Run, load_run
from .units import default_units

__all__ = ["EpochReport", "Run", "TrainConfig", "TrainResult", "default_units", "load_run", "train"]
