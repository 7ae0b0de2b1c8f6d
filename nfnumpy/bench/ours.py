"""Our side: a training session and inference on CuPy, ready to be timed."""

import contextlib

import cupy

from .. import backend as backends
from ..autograd import no_grad
from ..datasets.preprocessing import to_input


class Ours:
    """A Problem's network on the GPU, with its optimizer and one batch of images."""

    name = "nfnumpy"

    def __init__(self, problem):
        images, labels = problem.images_and_labels()
        self.session = problem.session(images, labels, backend="cupy", tf32="on",
                                       precision="bf16" if problem.precision == "bf16" else None)
        self.images, self.labels = cupy.asarray(images), cupy.asarray(labels)

    def state(self):
        """The parameters by name, copied to the host."""
        return {name: cupy.asnumpy(array) for name, array in self.session.model.state_dict().items()}

    def train(self):
        """Start one training step; returns its figures, still unread."""
        return self.session.train_step(self.images, self.labels)

    def answer(self):
        """(logits in float32 on the host, the loss of a training step)."""
        return cupy.asnumpy(self.infer()).astype("float32"), self.train().read()[0]

    def infer(self):
        """Start one inference; returns the logits, an array."""
        session = self.session
        with no_grad(), backends.tf32(True):
            return session.model(to_input(self.images, session.backend, session.input_dtype)).data

    @staticmethod
    def milliseconds(work):
        """How long the device takes to do what the call `work()` starts."""
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end)

    @staticmethod
    def release():
        """Give unused memory back to the device."""
        cupy.cuda.Stream.null.synchronize()
        cupy.get_default_memory_pool().free_all_blocks()

    def peak(self, work):
        """{memory: bytes that the pool took from the device, live: bytes in use} at most, during `work()`."""
        self.release()
        with live_bytes() as live:
            work()
            cupy.cuda.Stream.null.synchronize()
        return {"memory": cupy.get_default_memory_pool().total_bytes(), "live": live.most}


class Live:
    """How many bytes are in use now, and how many were at most."""

    def __init__(self, now):
        self.now = self.most = now

    def taken(self, size):
        """`size` bytes more."""
        self.now += size
        self.most = max(self.most, self.now)

    def given_back(self, size):
        """`size` bytes less."""
        self.now -= size


@contextlib.contextmanager
def live_bytes():
    """Context that follows CuPy's pool; gives a Live."""
    live = Live(cupy.get_default_memory_pool().used_bytes())

    class Hook(cupy.cuda.MemoryHook):
        name = "live bytes"

        def malloc_postprocess(self, **facts):
            live.taken(facts["mem_size"])

        def free_postprocess(self, **facts):
            live.given_back(facts["mem_size"])

    with Hook():
        yield live
