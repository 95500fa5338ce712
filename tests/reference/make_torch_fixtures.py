"""Writes torch.pth: a checkpoint as training scripts write it, and what PyTorch itself reads from it, as torch.npz.

python tests/reference/make_torch_fixtures.py          # needs PyTorch; made with 2.13.0
"""

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
state = {f"module.encoder.{name}": value for name, value in net.state_dict().items()}
wide = torch.randn(5, 7)
state |= {
    "module.encoder.half": torch.randn(3).half(),
    "module.encoder.bfloat": torch.randn(3).bfloat16(),
    "module.encoder.double": torch.randn(2, 2, dtype=torch.float64),
    "module.encoder.transposed": wide.T,
    "module.encoder.slice": wide[1:4, ::3],
    "module.encoder.same": wide,
    "module.encoder.mask": wide > 0,
    "module.encoder.scalar": torch.tensor(2.5),
    "module.encoder.empty": torch.zeros(0, 3),
    "module.decoder.parameter": torch.nn.Parameter(torch.randn(4)),
}
optimiser = torch.optim.Adam(net.parameters())
net(torch.randn(2, 3, 4, 4)).sum().backward()
optimiser.step()
torch.save(
    {"epoch": 3, "state_dict": state, "optimizer": optimiser.state_dict(), "size": wide.shape},
    HERE / "torch.pth",
)
loaded = torch.load(HERE / "torch.pth", weights_only=True)["state_dict"]
arrays = {
    name.removeprefix("module."): (value.float() if value.is_floating_point() else value).detach().numpy()
    for name, value in loaded.items()
}
np.savez(HERE / "torch.npz", **arrays)
