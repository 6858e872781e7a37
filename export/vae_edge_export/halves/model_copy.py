"""The private copy of a model that an export works on: the user's own stays as it is."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from vae_edge_runtime.errors import AdaptError

from ..adapters.recognise import TORCHSCRIPT
from .copying import copied


def private_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode and float32, without gradients.

    Raises:
        AdaptError: a weight is not there or not finite, or the module cannot be copied or is TorchScript.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise AdaptError(TORCHSCRIPT)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor) or tensor.is_meta:
            raise AdaptError(f"weight {name} has no values yet: load weights, or run the model once (lazy layers)")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise AdaptError(f"weight {name} holds NaN or infinity: export an earlier checkpoint")
    module = nn.Module.cpu(copied(model))
    module = nn.Module.float(module)
    for part in module.modules():
        part.training = False  # as eval() does, which an exported program refuses to be asked for
    for parameter in module.parameters():
        if parameter.is_leaf:  # those of a copied TorchScript module are not
            parameter.requires_grad_(False)
    return module
