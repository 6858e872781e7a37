"""The private copy of a model that an export works on: the user's own stays as it is."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vae_edge_runtime.errors import AdaptError


def private_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode and float32, without gradients.

    Raises:
        AdaptError: a weight is not there or not finite, or the module cannot be copied.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor) or tensor.is_meta:
            raise AdaptError(f"weight {name} has no values yet: load weights, or run the model once (lazy layers)")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AdaptError(f"weight {name} holds NaN or infinity: export an earlier checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about itself, when it copies an exported program
            module = copy.deepcopy(model, _cached_tensors(model)).cpu()
    except Exception as error:
        raise AdaptError(
            f"the model cannot be copied ({error}): detach stored graph tensors before exporting"
        ) from error
    module = nn.Module.float(module)
    for part in module.modules():
        part.training = False  # as eval() does, which an exported program refuses to be asked for
    for parameter in module.parameters():
        if parameter.is_leaf:  # those of a copied TorchScript module are not
            parameter.requires_grad_(False)
    return module


def _cached_tensors(model: nn.Module) -> dict[int, Tensor]:
    """Results a module keeps as attributes (the weight of weight norm), which copy only without their history."""
    kept = [value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}
