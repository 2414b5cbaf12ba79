"""What a stored result has to be recognised by: its weights, its frames, its labels."""

import hashlib

import torch
from torch import Tensor, nn


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that name the weights of a model: SHA-256 of its parameters and buffers."""
    return digest(*model.state_dict().values())


def digest(*tensors: Tensor) -> str:
    """16 hexadecimal digits that name shapes, types and values."""
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        content.update(tensor.detach().cpu().numpy().tobytes())
    return content.hexdigest()[:16]


def agree(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two biases or weights of frames are the same, but for the digits in which devices and threads differ."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.allclose(a.cpu(), b.cpu(), rtol=1e-3, atol=1e-3)
