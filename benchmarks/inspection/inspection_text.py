"""The prose of the page; braces are filled in by ``inspection_page``."""

TITLE = "# Inspection benchmark"

FRONT = """\
Planted defects of five kinds on pictures of three materials, and what a small VAE makes of them beside other methods.

```sh
pip install "vae-edge[export,evaluate,images]" scikit-image pyod
python benchmarks/inspection/run.py --seeds 3   # goes on with what it has: each cell is a file
python benchmarks/inspection/run.py --rewrite   # writes this page from the cells that are there
```"""

NOTHING = """\
**Not measured yet:** no cell was complete when this page was written, as the machine was busy with other work. The
earlier measurements below are of one material and one seed."""

MADE = """\
The tables below are made of {cells} cells, {seeds} seed each, the last of {date}, with {versions}. A model was trained
on {training} pictures and calibrated on {calibration} others; a test has {good} good pictures and {bad} with defects.
One core was shared with much other work. Read differences of a few hundredths as noise."""

MISSING_SETTINGS = "**Not complete:** {count} of 6 materials were measured; the same command measures the others."

MISSING_CELLS = "**Not complete:** {missing} of {wanted} cells are missing; the same command measures them."

QUICK = "**This is a quick run** with one epoch and few pictures: its figures mean nothing."

SHORT = """\
Means over the materials that every method was measured on. A VAE is scored by the head `top`, patches by the mean
of their largest 1 %. The threshold stands for 1 % of false alarms; it comes from calibration pictures, as in a
bundle. PyOD takes all pixels of a picture as one row, with its defaults, and has no map. Pixel figures are of maps
against masks; PRO is the per-region overlap of MVTec AD."""

READING = """\
Patches beside patches of normal pictures, a few lines of numpy, have the larger AUROC than the default VAE in
{better} of {cells} cells. They keep 6,000 patches, and compare each patch of a picture with all of them. Their
maps find pixels with an AUROC of {patches}; the maps of the VAE have {vae}."""

BY_MATERIAL = """\
AUROC. *Aligned*: each picture shows one place, up to a pixel beside it. *Not aligned*: a texture is cut at random
places, and training and test come from different parts of the photograph; the cup is turned by up to 15 degrees and
moved by up to 5 pixels."""

BY_KIND = """\
Means over the same materials, against good pictures. A wrong colour has the lightness of what it replaces."""

BY_HEAD = """\
What each head of the same bundles does. `elbo` adds up all pixels, and a small defect drowns in it: decide by `top`
([Pictures](pictures.md#the-head-that-decides))."""

OPTIONS = """\
`train conv` offers changes of training pictures, a learning rate that falls, and SSIM in the loss. Bricks in random
places and the turned cup were measured with seed 0, 20 epochs and all else as in the default. Whitened maps and the
head `top` were computed in numpy from the model in PyTorch. The error is the mean square over normal pictures that
were not trained on, in squared levels of 255.

| options of train conv | bricks: AUROC | recall at 1 % | PRO | error | cup: AUROC | recall at 1 % | PRO | error |
|---|---|---|---|---|---|---|---|---|
| none (the default) | 0.801 | 0.62 | 0.615 | 393 | 0.727 | 0.10 | 0.714 | 386 |
| `--augment shift,brightness` | 0.767 | 0.59 | 0.615 | 361 | 0.646 | 0.16 | 0.683 | 406 |
| `--augment shift,brightness,left-right,up-down` | 0.797 | 0.61 | 0.619 | 337 | – | – | – | – |
| `--schedule cosine --lr 0.002` | 0.794 | 0.60 | 0.619 | 358 | 0.739 | 0.06 | 0.711 | 382 |
| `--perceptual 0.1` | 0.808 | 0.60 | 0.614 | 393 | – | – | – | – |
| `--perceptual 5` | 0.795 | 0.62 | 0.612 | 437 | 0.633 | 0.06 | 0.685 | 404 |

With seed 1 the default has an AUROC of 0.676 on the turned cup, and the cosine 0.680: seeds differ by more than the
cosine adds. The default has 0.797 on bricks with seed 1.

The default has none of the options. Shifts and `--perceptual 5` cost the turned cup 8 and 9 hundredths of AUROC in this
time. Augmentation rebuilds unseen bricks with up to 14 % less error, and finds no
more defects. Scratches, spots and wrong colours of bricks have an AUROC of 1.00 with each option, and blur and missing
parts have 0.41 to 0.54: the residual of this texture hides them."""

COLOUR = """\
One model was trained for 20 epochs in batches of 64. Its residuals were turned into maps in four ways. The head is
`top`.

| map | AUROC | recall at 1 % | wrong colour: AUROC | wrong colour: pixel AUROC | wrong colour: PRO | all: pixel AUROC | all: PRO |
|---|---|---|---|---|---|---|---|
| channels added up (`plain`) | 0.783 | 0.36 | 0.58 | 0.894 | 0.669 | 0.804 | 0.769 |
| added up, `--map-sigma 1` | 0.825 | 0.51 | 0.58 | 0.905 | 0.693 | 0.834 | 0.803 |
| whitened, not smoothed | 0.840 | 0.38 | 0.77 | 0.948 | 0.844 | 0.803 | 0.801 |
| smoothed with signs, then whitened (`whitened`) | 0.956 | 0.85 | 1.00 | 0.997 | 0.990 | 0.878 | 0.895 |

`vae-edge export` takes the last way for colour pictures. These rows were computed in numpy from reconstructions of
the bundle; `tests/export/graphs/test_whitening.py` holds the graph to the same promise."""  # noqa: E501

EARLIER = """\
These figures are of one seed, and of the cup, aligned, where no other material is named. They led to today's
defaults."""

DEFAULT = """\
Before, the loss was `mse`, with 16 latents, 32 channels and 2 halvings. Now it is `gaussian` with a variance of 0.005,
and 32 latents, 24 channels and 3 halvings for pictures from 32 x 32 pixels on. Both trained in batches of 64 for about
4 minutes of a shared core: 20 epochs of the new default take as long as 12 of the old one. Maps are `plain`.

| default | epochs | AUROC of `elbo` | of `top` | of `ssim` | recall at 1 % of `top` | R² on normal pictures |
|---|---|---|---|---|---|---|
| before | 12 | 0.575 | 0.527 | 0.521 | 0.00 | -0.89 |
| now | 20 | 0.834 | 0.783 | 0.793 | 0.36 | 0.65 |

Part of the difference was a fault of both: the running averages of batch norm lagged behind the weights, where an
epoch has few batches. The statistics are now taken anew after each epoch, and the learning rate of `train conv` grows
from 0 over the first. With statistics taken anew and 12 epochs each, the AUROC of `top` is 0.552 with the old loss and
sizes, and 0.690 with the new ones; of `elbo` 0.561 and 0.718. On bricks in random places the old default had an AUROC
of 0.61 by `top`."""

BATCHES = """\
With 30 epochs and 240 pictures, whitened maps and the head `top`, computed in numpy from the
model in PyTorch. An epoch takes as long by 16 as by 64. The default takes batches of 16 where there are fewer than
4,096 rows; its learning rate stays 0.001.

| batch, learning rate | AUROC after 10 epochs | after 20 | after 30 | recall at 1 % after 30 | pixel AUROC after 30 |
|---|---|---|---|---|---|
| 64, 0.001 (the default before) | 0.762 | 0.980 | 0.999 | 0.99 | 0.903 |
| 16, 0.002 falling to 0 as a cosine | 0.992 | 1.000 | 1.000 | 1.00 | 0.947 |"""

PUBLISHED = """\
No published figure is of these pictures. The figures below show what VAEs reach on other pictures; they are quoted,
not measured here."""

PROTOCOL = """\
The pictures are of scikit-image: its bricks and its gravel at half size, tinted, and its cup of coffee, each 64 x
64 pixels. Light differs by 4 % from picture to picture, and each pixel has noise of 3 levels. A model is trained on
200 pictures and calibrated on 130 others; the test has 80 good pictures and 20 with each kind of defect. `vae` and
`vae before` are what `vae-edge train conv` and `vae-edge export` give; epochs are chosen so that both train for
about the same time."""

OWN_DATA = """\
## On your own data

MVTec AD and VisA cannot be downloaded here. With MVTec AD on disk:

```sh
vae-edge train conv --data bottle/train/good --image-size 128x128 --epochs 60 -o run
vae-edge export run --calibration bottle/train/good --image-size 128x128 -o bottle.vaeb
vae-edge evaluate bottle.vaeb bottle/test --normal good --masks bottle/ground_truth --image-size 128x128
```

Hold back a fifth of `train/good` for `--calibration` where you want thresholds that keep their promise: a model knows
the pictures that it was trained on.

VisA has one folder per object, with the pictures in `Data/Images/Normal` and `Data/Images/Anomaly`, and the masks in
`Data/Masks/Anomaly`:

```sh
vae-edge train conv --data candle/Data/Images/Normal --image-size 128x128 --epochs 60 -o run
vae-edge export run --calibration candle/Data/Images/Normal --image-size 128x128 -o candle.vaeb
vae-edge evaluate candle.vaeb candle/Data/Images --normal Normal --masks candle/Data/Masks --image-size 128x128
```
"""
