"""The fp32 variant: the graphs as traced, held to PyTorch output by output and decision by decision."""

from __future__ import annotations

from vae_edge_runtime.backends.base import Backend

from ..bundling.finished_variant import FinishedVariant
from ..bundling.split_weights import SplitGraphs
from ..checks.decisions import advise_head, check_decisions, find_traps
from ..checks.parity import check_parity
from ..checks.rounding import allowed_relative, own_loss
from ..checks.size_parity import compare_sizes
from .builder import VariantBuilder


def build_fp32(builder: VariantBuilder, graphs: SplitGraphs, backend: Backend) -> FinishedVariant:
    """Check, calibrate and finish the fp32 variant.

    Args:
        backend: runs ``graphs``.

    Raises:
        ParityFailed, VerdictFailed: the graphs do not compute what the model computes.
    """
    built, rows, config, timer = builder.built, builder.rows, builder.config, builder.timer
    with timer("parity"):
        feeds = builder.parity_feeds
        compared = check_parity(
            backend,
            builder.reference,
            feeds,
            builder.probe_rows,
            builder.latents,
            noise=builder.noise(feeds),
            rtol=config.parity_rtol,
        )
        rtol = config.parity_rtol
        sizes = compare_sizes(backend, builder.reference, built, rows, rtol=rtol, tolerance=lambda _: rtol)
    with timer("calibrate"):
        calibrated = builder.calibrate(backend, "fp32")
    with timer("verdict"):
        verdict = check_decisions(backend, builder.reference, built, calibrated, rows, config)
    with timer("traps"):
        traps = find_traps(backend, built, calibrated, rows)
        advice = advise_head(backend, built, calibrated, rows, traps)
    golden = builder.golden_outputs(builder.reference.run)
    single = builder.golden_outputs(lambda graph, feeds: builder.reference.run_float32(graph, feeds, plain=True))
    tolerance = {
        (output := f"{graph}.{name}"): max(
            compared.figures[output].tolerance_relative or 0.0,
            allowed_relative(config.parity_rtol, own_loss(single[graph][name], exact)),
        )
        for graph, outputs in golden.items()
        for name, exact in outputs.items()
    }
    return builder.finish(
        "fp32",
        graphs,
        calibrated,
        parity=compared.figures,
        verdict=verdict,
        traps=traps,
        golden=golden,
        tolerance=tolerance,
        warnings=(*compared.notes, *builder.latents.notes),
        advice=advice,
        sizes=sizes,
    )
