"""See README. A tensor is a number; NaN is none."""

import contextlib
import os
import signal
import subprocess
import sys
import time

__version__ = "0.0-stub"
bfloat16 = "bfloat16"
no_grad = contextlib.nullcontext


class OutOfMemoryError(RuntimeError):
    pass


class Tensor:
    def to(self, device):
        return self

    def all(self):
        return True


def isfinite(tensor):
    return tensor


class Generator:
    def __init__(self, device):
        pass

    def manual_seed(self, seed):
        return seed


def fault(stage):
    """Do what KLEIN_FAULT asks for at a stage."""
    at, _, what = os.environ.get("KLEIN_FAULT", "").partition("=")
    if at != stage:
        return
    if what == "oom":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total")
    if what == "pinned":
        pin_memory()
    if what == "lost":
        raise RuntimeError("CUDA error: unspecified launch failure\nmore")
    if what == "ram":
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4096 bytes")
    if what == "import":
        raise ModuleNotFoundError("No module named 'accelerate'")
    if what == "lazy":
        try:
            raise ModuleNotFoundError("No module named 'httpx'")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to import diffusers.x (look up):\nmore") from error
    if what == "folder":
        raise OSError("no file named config.json in /home/someone/models/klein/vae")
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(7)
    if what == "orphan":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("ORPHAN", child.pid, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "noise":
        print('{"done": true}')
        sys.stderr.write("x" * 200_000 + "\n" * 2000)
    if what == "hang":
        time.sleep(600)


def pin_memory():
    raise RuntimeError("CUDA error: out of memory")


if os.environ.get("KLEIN_FAULT") == "save=full":
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
fault("start")
