"""Packages called torch that go wrong in each way a real one has been seen to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Enough of torch for the import to succeed; what CUDA does is put in by each.
_LOADS = """
import types
__version__ = "2.14.1+cu130"
class Full(RuntimeError):
    pass
"""
_CUDA = (
    _LOADS
    + """
import sys
def init():
    {init}
cuda = types.ModuleType("torch.cuda")
cuda.init = init
cuda.get_device_capability = lambda index: (12, 0)
cuda.get_device_name = lambda index: "NVIDIA GeForce RTX 5070"
cuda.mem_get_info = lambda index: ({free} << 20, 12000 << 20)
sys.modules["torch.cuda"] = cuda
def empty(size, device):
    return None
"""
)
BROKEN = {
    "raises": "raise ImportError('libtorch_cuda.so: undefined symbol: _ZN3c10')",
    "lacks a library": "raise OSError('libcudart.so.13: cannot open shared object file')",
    "names a folder": "raise OSError('/home/bob smith/venv/lib/libcudart.so.13: cannot open')",
    "segfaults": "import ctypes; ctypes.string_at(0)",
    "is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "aborts": "import os, sys; print('terminate called', file=sys.stderr, flush=True); os.abort()",
    "hangs": "import time\nwhile True: time.sleep(1)",
    "hangs deaf": (
        "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\n"
        "while True: time.sleep(1)"
    ),
    "ends silently": "import os; os._exit(0)",
    "exits": "import sys; sys.exit(3)",
    "ends with a code": "import os, sys; print('MKL ERROR', file=sys.stderr); os._exit(3)",
    "floods": (
        "import sys\nfor _ in range(64):\n    sys.stdout.write('x' * (1 << 20) + chr(10))\n"
        "    sys.stderr.write('y' * (1 << 20))\nraise ImportError('after the flood')"
    ),
    "floods without end": "import os\nwhile True: os.write(1, b'z' * 65536)",
    "is empty": "",
    "closes its output": "import os, time\nfor fd in range(0, 64):\n    try: os.close(fd)\n"
    "    except OSError: pass\ntime.sleep(600)",
    "has no driver": _CUDA.format(
        init="raise RuntimeError('CUDA unknown error - this may be due to')", free=0
    ),
    "crashes at CUDA": _CUDA.format(init="import ctypes; ctypes.string_at(0)", free=0),
    "hangs at CUDA": _CUDA.format(init="import time; time.sleep(600)", free=0),
    "finds the card full": _CUDA.format(
        init="raise RuntimeError('CUDA error: out of memory')", free=0
    ),
    "finds too little room": _CUDA.format(init="pass", free=10),
}


def put(folder: Path, source: str, name: str = "torch") -> dict[str, str]:
    """Write such a package into the folder; the environment in which it is found first."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source, encoding="utf-8")
    if name == "torch":
        (package / "nn").mkdir()
        (package / "nn" / "__init__.py").write_text("", encoding="utf-8")
        (package / "nn" / "functional.py").write_text("", encoding="utf-8")
    return with_path(folder)


def with_path(folder: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment in which Python looks into the folder first."""
    return {**(os.environ if env is None else env), "PYTHONPATH": str(folder)}
