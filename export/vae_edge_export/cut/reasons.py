"""Why a forward was not cut: the reason becomes part of one message to the user."""

from __future__ import annotations

from vae_edge_runtime.errors import AdaptError


class NotCut(AdaptError):
    """A forward that cannot be cut; the text is the reason, in words for the user."""
