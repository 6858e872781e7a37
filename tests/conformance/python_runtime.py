"""The Python runtime as the conformance suite asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from runner import Case, Refused

from vae_edge_runtime import VAE, Bundle, VaeEdgeError, load, verify
from vae_edge_runtime.format.stream_rules import AlarmSpec
from vae_edge_runtime.sampling.noise import philox_words, standard_normal
from vae_edge_runtime.sampling.prior import draw
from vae_edge_runtime.stream.alarm import Alarm
from vae_edge_runtime.stream.guard import Guard
from vae_edge_runtime.stream.rows import Rows


@contextmanager
def _named() -> Iterator[None]:
    """Errors of the runtime by name."""
    try:
        yield
    except VaeEdgeError as error:
        raise Refused(type(error).__name__) from error


@contextmanager
def _session(bundle: Path, variant: str = "auto") -> Iterator[VAE]:
    with _named(), load(bundle, device="cpu", variant=variant, threads=1) as vae:
        yield vae


class PythonRuntime:
    """``vae_edge_runtime`` on the CPU."""

    def open(self, bundle: Path) -> Case:
        with _named(), Bundle.open(bundle) as opened:
            opened.verify_members()
            for name, variant in opened.manifest.variants.items():
                for graph in variant.graphs:
                    opened.graph(name, graph)
            return {"bundle_id": opened.bundle_id, "variants": sorted(opened.manifest.variants)}

    def verify(self, bundle: Path) -> Case:
        with _named():
            verification = verify(bundle, threads=1)
        return {"ok": verification.ok, "members": verification.members}

    def score(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None, heads: Any, maps: bool,
              threshold: float | None) -> Case:  # fmt: skip
        with _session(bundle, variant) as vae:
            scores = vae.score(x, condition=condition, heads=heads, maps=maps, threshold=threshold)
            by_head = {
                name: {"score": s.score, "p_value": s.p_value, "is_anomaly": s.is_anomaly, "threshold": s.threshold}
                for name, s in scores.heads.items()
            }
            answer = {"status": scores.status.tolist(), "heads": by_head, "reconstruction": scores.reconstruction}
            return answer | {"kl": scores.kl} | ({"map": scores.map} if maps else {})

    def encode(self, bundle: Path, variant: str, x: np.ndarray, condition: np.ndarray | None) -> Case:
        with _session(bundle, variant) as vae:
            posterior = vae.encode(x, condition=condition)
            names = ("mean", "logvar", "indices")
            return {"status": posterior.status.tolist()} | {name: getattr(posterior, name) for name in names}

    def decode(self, bundle: Path, variant: str, z: np.ndarray, condition: np.ndarray | None) -> Case:
        with _session(bundle, variant) as vae:
            return {"x_hat": vae.decode(z, condition=condition)}

    def sample(self, bundle: Path, variant: str, n: int, seed: int, temperature: float,
               condition: np.ndarray | None) -> Case:  # fmt: skip
        with _session(bundle, variant) as vae:
            return {"x_hat": vae.sample(n, seed=seed, temperature=temperature, condition=condition)}

    def latents(self, bundle: Path, variant: str, n: int, seed: int, temperature: float) -> Case:
        with _session(bundle, variant) as vae:
            return {"z": draw(vae.manifest.latent, vae._prior_numbers(), n, seed=seed, temperature=temperature)}

    def words(self, seed: int, stream: int, count: int) -> Case:
        return {"words": philox_words(count, seed=seed, stream=stream)}

    def noise(self, seed: int, stream: int, count: int) -> Case:
        return {"noise": standard_normal(count, seed=seed, stream=stream)}

    def decide(self, bundle: Path, variant: str, head: str, scores: np.ndarray) -> Case:
        with _session(bundle, variant) as vae:
            sketch, threshold = vae._scorer.fitted.sketches[head], vae.calibrations[head].threshold
            return {"p_value": sketch.p_values(scores), "is_anomaly": scores > np.float64(threshold)}

    def threshold_for(self, bundle: Path, variant: str, head: str, method: str, rate: float) -> float:
        with _session(bundle, variant) as vae:
            return vae.threshold_for(rate, head=head, method=method)  # type: ignore[arg-type]

    def guard(self, bundle: Path, rows: np.ndarray, times: np.ndarray) -> Case:
        with _named(), Bundle.open(bundle) as opened:
            assert opened.manifest.stream is not None
            guard = Guard(opened.manifest.stream.guard, opened.manifest.input)
            return {"flags": guard.check(Rows(rows, times)), "steps": guard.steps.tolist()}

    def alarm(self, rules: Case, decisions: list[Any]) -> Case:
        alarm = Alarm(AlarmSpec(**rules))
        return {"states": [alarm.step(*decision) for decision in decisions]}

    def stream(self, bundle: Path, rows: np.ndarray, times: np.ndarray) -> Case:
        names = ("index", "time", "status", "score", "is_anomaly", "alarm")
        with _session(bundle) as vae:
            return {"events": [
                {name: getattr(event, name) for name in names}
                | {name: list(getattr(event, name)) for name in ("faults", "fault_features")}
                for event in vae.stream([Rows(rows, times)], drift=False, top=0)
            ]}  # fmt: skip
