"""PyTorch checkpoint files as NumPy arrays by name."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Names under which training scripts put the weights beside the state of the optimiser."""
PREFIXES = ("module.", "_orig_mod.")
"""Before every name, put there by DataParallel and by torch.compile."""


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote, by the names of the class itself; fractions as float32.

    Only tensors are read (`weights_only`): a file cannot run code. Errors: ValueError for a missing file, a file that is no
    such checkpoint or holds a whole pickled model, and without PyTorch.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint at {path}")
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(f"reading {path} needs PyTorch: pip install 'semsim-jax[torch]'") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} is not a PyTorch state dict of tensors alone: load it where it was made and save model.state_dict()"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint: {error}") from None
    tensors = unwrapped(loaded, str(path))
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in tensors.items()
    }


def unwrapped(loaded: object, source: str = "this") -> dict[str, Any]:
    """The arrays of a state dict without what training scripts wrap around it and put before its names.

    Errors: ValueError where there is none.
    """
    if isinstance(loaded, Mapping):
        arrays = {str(name): value for name, value in loaded.items() if hasattr(value, "shape")}
        for prefix in PREFIXES:
            if arrays and all(name.startswith(prefix) for name in arrays):
                arrays = {name.removeprefix(prefix): value for name, value in arrays.items()}
        if any(name.startswith(("encoder.", "decoder.")) for name in arrays):
            return arrays
        for name in WRAPPERS:
            if isinstance(loaded.get(name), Mapping):
                return unwrapped(loaded[name], source)
    raise ValueError(f"{source} holds no state dict with an encoder and a decoder")
