"""How the doctor itself was started, where that changes what it sees: sudo, WSL, conda, the Store.

Nothing of this is wrong with the machine that is judged; it is said beside the report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from klein_doctor.environment import conda_base
from klein_doctor.model import Report, known
from klein_doctor.pipes import say
from klein_doctor.wrapping import wrap

_WINDOWS_DRIVE = re.compile(r"/mnt/[a-z]/")  # where WSL shows the drives of Windows
_WSL_SHARE = ("\\\\wsl.localhost\\", "\\\\wsl$\\")  # where Windows shows the files of WSL


class Start(NamedTuple):
    """The doctor's own process. uid: None on Windows. conda: its environment is one of conda's.

    base: its Python's base prefix. cwd: "" where there is none. called: its command, where somebody
    at a terminal typed one that the PATH does not lead to; else "".
    """

    platform: str
    uid: int | None
    prefix: str
    base: str
    conda: bool
    cwd: str
    env: Mapping[str, str]
    called: str = ""


def of_this_process() -> Start:
    """How this process was started."""
    import os
    import sys

    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
    uid = None
    if sys.platform != "win32":
        uid = os.getuid()
    conda = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
    called = ""
    typed = os.path.basename(sys.argv[0]).startswith("klein-doctor")
    if typed and sys.stderr is not None and sys.stderr.isatty():
        import shutil

        called = "" if shutil.which("klein-doctor") else sys.argv[0]
    return Start(sys.platform, uid, sys.prefix, sys.base_prefix, conda, cwd, os.environ, called)


def tell(report: Report) -> None:
    """Say it on standard error, beside a report of this machine."""
    if report.replayed:
        return
    for text in remarks(of_this_process(), report):
        for line in wrap(f"klein-doctor: {text}", rest="  "):
            say(line)


def remarks(start: Start, report: Report) -> tuple[str, ...]:
    """What the user should know of it, a text each."""
    told = (remark(start, report) for remark in _REMARKS)
    return tuple(text for text in told if text)


def _sudo(start: Start, report: Report) -> str:
    user = start.env.get("SUDO_USER", "")
    if start.uid != 0 or user in ("", "root"):
        return ""
    if report.target.comfyui.real:
        return ""
    return (
        "started with sudo, so ~ is root's home here, and a ComfyUI in your own home is not looked "
        "for; nothing of a diagnosis needs root. Run it without sudo, or name the folder with "
        "--comfyui; what --fix writes there stays yours either way."
    )


def _windows_from_wsl(start: Start, report: Report) -> str:
    inside = start.cwd.lower().startswith(_WSL_SHARE) or "WSLENV" in start.env
    if start.platform != "win32" or not inside:
        return ""
    return (
        "this is Windows' Python, started from WSL: it judges Windows, its driver and its Python. "
        "For a ComfyUI inside WSL, run klein-doctor with WSL's own python3."
    )


def _windows_folder_in_wsl(start: Start, report: Report) -> str:
    system = known(report.facts.system)
    if system is None or not system.wsl:
        return ""
    root = report.target.comfyui.real
    if _WINDOWS_DRIVE.match(root):
        return (
            "this ComfyUI lies on a drive of Windows and is judged from inside WSL: if Windows "
            "starts it, run klein-doctor in Windows, where its Python and its memory are seen; if "
            "WSL starts it, loading from there is slow, and a folder in WSL's own ~ is not."
        )
    if not root:
        return (
            "this is WSL: a ComfyUI that Windows starts (the portable folder, Comfy Desktop) is "
            "not looked for from here; run klein-doctor in Windows for that one."
        )
    return ""


def _conda_base(start: Start, report: Report) -> str:
    python = known(report.facts.interpreter)
    judged = python is not None and conda_base(python)
    if judged and report.target.python_from == "CONDA_PREFIX":
        return (
            "the Python judged is conda's base environment, which every new shell activates; if "
            "ComfyUI has an environment of its own, activate that one first, or name it with "
            "--python."
        )
    if start.conda and "envs" not in re.split(r"[\\/]", start.prefix)[-2:-1] and not judged:
        return (
            "klein-doctor is installed in conda's base environment, which conda itself runs on; "
            "it is better off in one of its own: python -m venv, pipx or uv (docs/ways-in.md)."
        )
    return ""


def _store_python(start: Start, report: Report) -> str:
    if start.platform != "win32" or "windowsapps" not in start.base.lower():
        return ""
    return (
        "this is the Python of the Microsoft Store: what it writes below AppData lands in a "
        "private folder of that app, so other programs do not see the state folder there; name "
        "one with --state-dir if a script shall read it."
    )


def _off_the_path(start: Start, report: Report) -> str:
    if not start.called:
        return ""
    folder, mark, _ = start.called.rpartition("\\" if start.platform == "win32" else "/")
    first = "" if start.platform == "win32" else "source "
    return (
        f"where the report says klein-doctor, type {start.called}: the short name is not on this "
        f"shell's PATH. '{first}{folder}{mark}activate' puts it there for this terminal."
    )


_REMARKS: tuple[Callable[[Start, Report], str], ...] = (
    _sudo,
    _windows_from_wsl,
    _windows_folder_in_wsl,
    _conda_base,
    _store_python,
    _off_the_path,
)
