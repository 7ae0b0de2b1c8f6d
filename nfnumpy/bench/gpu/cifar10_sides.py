"""The same training run in nfnumpy and in PyTorch: same first weights, order of images, recipe; products in bf16."""

import gc
from collections.abc import Iterator
from typing import Any

import cupy
import numpy

from ... import datasets, models, optim
from ...training import TrainingOptions
from ...training.trainer import Trainer
from ..implementations.nfnumpy_cupy import CupyNetwork

MODEL = "nfnet_32px"
RECIPE: dict[str, Any] = {"lr": 0.2, "warmup_epochs": 0.5, "label_smoothing": 0.1, "ema": None, "precision": "bf16"}
EVALUATED = 1000  # images at a time


class OurTraining:
    """nfnumpy's run over all images of `dataset`, which lie on the GPU."""

    name = "nfnumpy"

    def __init__(self, dataset: datasets.Dataset, epochs: int, batch_size: int, cuda_graph: str) -> None:
        config = models.config_of(MODEL, drop_rate=0.0, stochdepth_rate=0.0, num_classes=len(dataset.classes))
        options = TrainingOptions(backend="cupy", model=MODEL, epochs=epochs, batch_size=batch_size,
                                  cuda_graph=cuda_graph, **RECIPE)
        self.trainer = Trainer(options, config, dataset)
        self.images = cupy.asarray(dataset.train.take(range(len(dataset.train))))
        self.labels = cupy.asarray(dataset.train.labels)

    def state(self) -> dict[str, numpy.ndarray]:
        """The parameters by name, on the host."""
        return {name: cupy.asnumpy(array) for name, array in self.trainer.model.state_dict().items()}

    def step(self, indices: numpy.ndarray) -> None:
        """Start a step on these images."""
        chosen = cupy.asarray(indices)
        self.trainer.train_step(cupy.take(self.images, chosen, axis=0), cupy.take(self.labels, chosen, axis=0))

    def wait(self) -> None:
        """Until the device is done."""
        cupy.cuda.Stream.null.synchronize()

    def accuracy(self) -> float:
        """Share of the test images that are classified correctly."""
        test = self.trainer.dataset.test
        return self.trainer.evaluate((test.take(part), test.labels[part]) for part in _parts(test))["test_accuracy"]

    def close(self) -> None:
        """Give the memory back."""
        del self.trainer, self.images, self.labels
        gc.collect()  # a trainer and its graph refer to each other
        CupyNetwork.release()


class TorchTraining:
    """PyTorch's run with the first weights `state`, eager, channels last, under autocast."""

    name = "PyTorch NHWC"

    def __init__(self, dataset: datasets.Dataset, epochs: int, batch_size: int, state: dict[str, numpy.ndarray],
                 device: str) -> None:
        import torch

        from ...ports import torch as port
        from ..implementations.torch_update import optimizer_of
        self.torch, self.port, self.device, self.dataset = torch, port, torch.device(device), dataset
        config = models.config_of(MODEL, drop_rate=0.0, stochdepth_rate=0.0, num_classes=len(dataset.classes))
        self.network: Any = port.from_config(config)
        port.load_reference_state(self.network, state)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer, _ = optimizer_of(self.network)
        steps = len(dataset.train) // batch_size
        self.schedule = optim.warmup_cosine(RECIPE["lr"], round(RECIPE["warmup_epochs"] * steps), epochs * steps)
        self.taken = 0
        self.images = torch.from_numpy(dataset.train.take(range(len(dataset.train)))).to(self.device)
        self.labels = torch.from_numpy(dataset.train.labels).to(self.device)

    def _logits(self, images):
        with self.torch.autocast(self.device.type, dtype=self.torch.bfloat16):
            return self.network(self.port.normalize(images)).float()

    def step(self, indices: numpy.ndarray) -> None:
        """Start a step on these images."""
        from ..implementations.torch_device import fast_products
        chosen = self.torch.from_numpy(indices).to(self.device)
        self.optimizer.lr = self.schedule(self.taken)
        self.optimizer.zero_grad()
        with fast_products():
            loss = self.torch.nn.functional.cross_entropy(
                self._logits(self.images[chosen]), self.labels[chosen], label_smoothing=RECIPE["label_smoothing"])
            loss.backward()
            self.optimizer.step()
        self.taken += 1

    def wait(self) -> None:
        """Until the device is done."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def accuracy(self) -> float:
        """Share of the test images that are classified correctly."""
        test = self.dataset.test
        right = 0
        with self.torch.inference_mode():
            for part in _parts(test):
                logits = self._logits(self.torch.from_numpy(test.take(part)).to(self.device))
                right += int((logits.argmax(1).cpu().numpy() == test.labels[part]).sum())
        return right / len(test)

    def close(self) -> None:
        """Give the memory back."""
        del self.network, self.optimizer, self.images, self.labels
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()


def _parts(split: datasets.Split) -> Iterator[numpy.ndarray]:
    """Indices of a split, EVALUATED at a time."""
    for start in range(0, len(split), EVALUATED):
        yield numpy.arange(start, min(start + EVALUATED, len(split)))
