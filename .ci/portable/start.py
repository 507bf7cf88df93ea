"""Start the doctor from its own folder, with whatever Python runs this; nothing is installed.

Without arguments: the report on the screen, its pasteable form in the clipboard. With paths that
were dropped: model files and folders are identified, anything else is explained.
"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


def folders():
    """Where the packages are: those for any Python, then those for this one."""
    tag = "cp{}{}".format(*sys.version_info[:2])
    return [os.path.join(HERE, "lib", name) for name in ("any", tag)]


def dropped(paths):
    """The command for files that were dropped on the .bat."""
    if all(os.path.isdir(path) or path.lower().endswith(MODELS) for path in paths):
        return ["identify", *paths]
    return ["triage", paths[0]]


def to_clipboard(text):
    """Whether Windows took the text: clip.exe reads UTF-16."""
    clip = shutil.which("clip")
    if clip is None:
        return False
    try:
        done = subprocess.run([clip], input=text.encode("utf-16"), timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def report(main):
    """The report for the screen, and the one to paste; answers with the exit code."""
    code = main([])
    handle, name = tempfile.mkstemp(suffix=".md", prefix="klein-doctor-")
    os.close(handle)
    try:
        main(["--format", "markdown", "--output", name])
        with open(name, encoding="utf-8") as stream:
            text = stream.read()
    finally:
        os.unlink(name)
    if to_clipboard(text):
        print("\nThe report without names and paths is in the clipboard: paste it where you ask.")
    else:
        print("\nTo paste a report: start this with  --format markdown --output report.md")
    return code


def run(arguments):
    """Everything; answers with the exit code."""
    present = [folder for folder in folders() if os.path.isdir(folder)]
    if len(present) < 2:
        there = sorted(os.listdir(os.path.join(HERE, "lib")))
        have = ", ".join(name for name in there if name.startswith("cp"))
        print(
            "This package was made for other Pythons ({}); this one is {}.{}. Take a newer "
            "klein-doctor-portable, or install klein-doctor with pipx.".format(
                have, *sys.version_info[:2]
            )
        )
        return 2
    sys.path[:0] = present
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.dont_write_bytecode = True
    from klein_doctor.cli import main

    if not arguments:
        return report(main)
    if all(os.path.exists(argument) for argument in arguments):
        return main(dropped(arguments))
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
