"""The same work in PyTorch, as one would reasonably write it: a loop over clients.

Each client's data are drawn, its network is trained for one epoch by `torch.optim.SGD`, and its
parameters are kept at the same checkpoints. Nothing is timed that does not first agree with the
Flax networks to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.sampling import CHECKPOINTS, UNIT
from benchmarks.work import Work, best
from fedmi import Task, tasks
from fedmi.models.lenet import LeNet
from fedmi.models.recurrent import RecurrentRegressor
from fedmi.tasks import mnist
from fedmi.tasks.signal import SCALE_RANGE, SHIFT_RANGE


def epoch(
    network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, task: Task
) -> list[Tensor]:
    """One epoch of plain SGD; returns the parameters at the checkpoints."""
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=task.learning_rate)
    kept = []
    batches = torch.randperm(len(x)).split(task.batch_size)
    for step, batch in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss(network(x[batch]), y[batch]).backward()
        if task.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, task.clip_norm)
        optimizer.step()
        if step in CHECKPOINTS:
            kept.append(nn.utils.parameters_to_vector(parameters).detach())
    return kept


# The signal task.


class Recurrent(nn.Module):
    """`RecurrentRegressor` with one fused `nn.RNN` a layer and masks held over time."""

    def __init__(self, frame: int, layers: int, units: int, dropout: float, outputs: int = 2):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.RNN(frame if layer == 0 else units, units, batch_first=True)
            for layer in range(layers)
        )
        self.head = nn.Linear(units, outputs)
        self.dropout = dropout
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight_ih_l0)
            nn.init.orthogonal_(layer.weight_hh_l0)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0).requires_grad_(False)  # one bias is enough
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def parameters(self, recurse: bool = True):
        """Those that are trained: 394 with the default sizes."""
        return (p for p in super().parameters(recurse) if p.requires_grad)

    def forward(self, x: Tensor, masks: Tensor | None = None) -> Tensor:
        """Predictions (examples, outputs) for sequences (examples, time, frame)."""
        if masks is None:
            shape = (len(x), len(self.layers), self.head.in_features)
            masks = (torch.rand(shape) >= self.dropout) / (1 - self.dropout)
        for index, layer in enumerate(self.layers):
            x = layer(x)[0] * masks[:, None, index]
        return self.head(x[:, -1])


def signal(*, trainings: int, threads: list[int]) -> Work:
    """Client-epochs of the signal task, with whichever number of threads is quicker."""
    task = tasks.get("signal")
    options = task.options
    sizes = tuple(options[name] for name in ("frame", "layers", "units", "dropout"))
    check_recurrent(Recurrent(*sizes))

    def run(clients: int) -> None:
        for _ in range(clients):
            x, y = draw_signals(task)
            epoch(Recurrent(*sizes), functional.mse_loss, x, y, task)

    count = _best_threads(threads, partial(run, 1))
    return Work(partial(run, trainings), trainings, UNIT, f"PyTorch, {count} thread(s)")


def draw_signals(task: Task) -> tuple[Tensor, Tensor]:
    """A client's sequences (examples, time, frame) and targets (examples, 2), as the task's."""
    options, n = task.options, task.examples

    def uniform(low: float, high: float, size: int) -> Tensor:
        return low + (high - low) * torch.rand(size)

    sinusoids = options["sinusoids"]
    amplitude = uniform(0.5, 1.5, sinusoids) * (sinusoids * 13 / 24) ** -0.5
    frequency = uniform(options["lowest_frequency"], options["highest_frequency"], sinusoids)
    phase = 2 * torch.pi * torch.rand(sinusoids)
    shift, scale = uniform(*SHIFT_RANGE, n), uniform(*SCALE_RANGE, n)
    times = torch.arange(options["length"]) / options["length"]
    moved = times - shift[:, None]
    waves = torch.sin(2 * torch.pi * frequency * moved[:, :, None] + phase) @ amplitude
    signals = scale[:, None] * waves + options["noise"] * torch.randn(waves.shape)
    targets = torch.stack([shift, scale - 1], dim=1) * 12**0.5
    targets[:, 0] /= SHIFT_RANGE[1] - SHIFT_RANGE[0]
    return signals.unfold(1, options["frame"], options["hop"]), targets


def check_recurrent(network: Recurrent) -> None:
    """Raises ArithmeticError unless the network predicts what Flax's does."""
    flax = RecurrentRegressor(layers=len(network.layers), units=network.head.in_features)
    frame = network.layers[0].input_size
    x = np.random.default_rng(0).standard_normal((3, 9, frame)).astype(np.float32)
    masks = np.full((3, flax.layers, flax.units), 1.25, np.float32)
    masks[0] = 0
    params = flax.init(jax.random.key(0), jnp.asarray(x))["params"]
    with torch.no_grad():
        for index, layer in enumerate(network.layers):
            cell = params[f"layer_{index:02d}"]["cell"]
            layer.weight_ih_l0.copy_(_tensor(cell["i"]["kernel"]).T)
            layer.bias_ih_l0.copy_(_tensor(cell["i"]["bias"]))
            layer.weight_hh_l0.copy_(_tensor(cell["h"]["kernel"]).T)
        network.head.weight.copy_(_tensor(params["head"]["kernel"]).T)
        network.head.bias.copy_(_tensor(params["head"]["bias"]))
        ours = network(torch.from_numpy(x), torch.from_numpy(masks))
    _agree(ours, flax.apply({"params": params}, jnp.asarray(x), jnp.asarray(masks)))


# The digits task.


def lenet(params: Any) -> nn.Module:
    """LeNet up to its features, (n, 1, 28, 28) -> (n, 84), with Flax's weights."""
    network = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    )
    flattened = np.asarray(params["dense1"]["kernel"]).reshape(5, 5, 16, 120)
    weights = {
        0: (_tensor(params["conv1"]["kernel"]).permute(3, 2, 0, 1), params["conv1"]["bias"]),
        3: (_tensor(params["conv2"]["kernel"]).permute(3, 2, 0, 1), params["conv2"]["bias"]),
        7: (_tensor(flattened).permute(3, 2, 0, 1).flatten(1), params["dense1"]["bias"]),
        9: (_tensor(params["dense2"]["kernel"]).T, params["dense2"]["bias"]),
    }
    with torch.no_grad():
        for index, (kernel, bias) in weights.items():
            network[index].weight.copy_(kernel)
            network[index].bias.copy_(_tensor(bias))
    x = np.random.default_rng(0).random((3, 28, 28), np.float32)
    with torch.inference_mode():
        _agree(
            network(torch.from_numpy(x)[:, None]),
            LeNet().apply({"params": params}, jnp.asarray(x), method="features"),
        )
    return network.eval()


def _originals(task: Task) -> tuple[Tensor, Tensor]:
    """The originals (n, 1, 28, 28) with values in [0, 1], and their labels (n,)."""
    pixels, labels = mnist.load(task.options["images"])
    pixels = torch.from_numpy(pixels.astype(np.float32) / 255)
    return pixels[:, None], torch.from_numpy(np.array(labels)).long()


def digits(*, trainings: int, threads: list[int], ready: bool = False) -> Work:
    """Client-epochs of the digits task.

    Args:
        trainings: how many.
        threads: numbers of threads, of which the quickest is taken.
        ready: whether the features are given; else images are selected and augmented, and go
            through LeNet, client by client.
    """
    task = tasks.get("digits")
    network = lenet(task.assets()["lenet"])
    originals, labels = _originals(task)

    def data() -> tuple[Tensor, Tensor]:
        own = torch.randperm(len(originals))[: task.examples]
        with torch.no_grad():
            return network(augment(originals[own], task.options)), labels[own]

    given = data()

    def run(clients: int) -> None:
        for _ in range(clients):
            x, y = given if ready else data()
            epoch(nn.Linear(84, 10), functional.cross_entropy, x, y, task)

    count = _best_threads(threads, partial(run, 5))
    what = "features given" if ready else "augmentation and features of 200 images at a time"
    return Work(partial(run, trainings), trainings, UNIT, f"{what}, {count} thread(s)")


def augment(originals: Tensor, options: dict[str, Any]) -> Tensor:
    """Random rotations, zooms and shifts of images (n, 1, 28, 28)."""
    n, side = len(originals), originals.shape[-1]
    draws = 2 * torch.rand(4, n) - 1
    angle = draws[0] * np.deg2rad(options["rotation"])
    scale = 1 / (1 + draws[1] * options["zoom"])
    moves = draws[2:] * options["shift"] * 2 / side
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [torch.stack([cosine, -sine, moves[0]]), torch.stack([sine, cosine, moves[1]])]
    maps = torch.stack(rows).permute(2, 0, 1)
    grid = functional.affine_grid(maps, list(originals.shape), align_corners=False)
    return functional.grid_sample(originals, grid, align_corners=False)


def _best_threads(threads: list[int], run: Callable[[], None]) -> int:
    """Sets and returns the number of threads with which the work is quickest."""

    def with_threads(count: int) -> None:
        torch.set_num_threads(count)
        run()

    count = best({count: partial(with_threads, count) for count in sorted(set(threads))})
    torch.set_num_threads(count)
    return count


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))


def _agree(ours: Tensor, theirs: Any) -> None:
    change = float(np.abs(ours.numpy() - np.asarray(theirs)).max())
    if not change < 1e-4:
        raise ArithmeticError(f"PyTorch's network and Flax's differ by {change:.2g}")
