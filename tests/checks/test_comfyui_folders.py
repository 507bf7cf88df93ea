"""Custom nodes that pin torch, and model paths, with literal facts."""

from __future__ import annotations

import around as a
import construct as c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import FAIL, PASS, RECIPE, UNKNOWN, WARN, alone, judge_one, of_any_words

from klein_doctor.installation import CustomNodes, ModelFolder, NodePin, PathsFile
from klein_doctor.model import Facts, Known, Outcome, Unknown
from klein_doctor.registry import catalogue

NOT_READ = Unknown("not read")
INDEX = "--extra-index-url https://download.pytorch.org/whl/"


def pinned(*lines: str) -> Facts:
    pins = tuple(NodePin(f"node-{n}", "requirements.txt", n, line) for n, line in enumerate(lines))
    nodes = CustomNodes(len(pins), 0, (), pins)
    facts = c.machine()
    return facts._replace(comfyui=Known(a.comfyui(custom_nodes=Known(nodes))))


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("torch==2.7.0", WARN),
        ("torch<2.14", WARN),
        ("torch>=2.0", PASS),
        ("torch==2.14.1", PASS),
        ("torch==2.14.1+cu130", PASS),
        ("torch==2.14.1+cu128", WARN),
        ("Torch>=99", WARN),
        ("torchvision==0.20.0", WARN),
        ("torchvision>=0.20.0", PASS),
        ("torchaudio==2.0", PASS),  # not installed: nothing is replaced
        ("xformers==0.0.28", PASS),
        ("torch==2.7.0 ; sys_platform == 'darwin'", PASS),
        ("torch==2.7.0 ; sys_platform == 'linux'", WARN),
        ("torch==2.7.0 ; python_version < '3.11'", PASS),
        ("torch==2.7.0 --hash=sha256:00", WARN),
        ("torch @ https://example.org/torch.whl", WARN),
        (f"{INDEX}cu121", WARN),
        (f"{INDEX}cu130", PASS),
        ("--index-url https://download.pytorch.org/whl/nightly/cu132", WARN),
        ("-f https://download.pytorch.org/whl/torch_stable.html", WARN),
        ("https://x.org/torch-2.7.0%2Bcu128-cp312-cp312-linux_x86_64.whl", WARN),
        ("https://x.org/torch-2.14.1%2Bcu130-cp312-cp312-linux_x86_64.whl", PASS),
        ("torch==2.7.0 and something cut sho", PASS),
    ],
)
def test_only_lines_that_would_move_torch_are_told(line: str, verdict: object) -> None:
    assert alone("custom-node-pins-torch", pinned(line)) is verdict


def test_an_installed_xformers_of_another_version_counts() -> None:
    facts = pinned("xformers==0.0.28")._replace(packages=Known(a.packages({"xformers": "0.0.35"})))
    assert alone("custom-node-pins-torch", facts) is WARN


def test_nodes_are_counted_once_and_named() -> None:
    pins = (
        NodePin("ComfyUI-A", "requirements.txt", 1, "torch==2.7.0"),
        NodePin("ComfyUI-A", "requirements.txt", 2, "torchvision==0.22.0"),
        NodePin("ComfyUI-B", "pyproject.toml", 0, "torch<2.9"),
        NodePin("ComfyUI-C", "requirements.txt", 9, "torch>=2.4"),
    )
    facts = c.machine()._replace(
        comfyui=Known(a.comfyui(custom_nodes=Known(CustomNodes(3, 0, (), pins))))
    )
    found = judge_one("custom-node-pins-torch", facts)
    assert found.title == "2 custom nodes would replace PyTorch"
    assert "ComfyUI-B: torch<2.9" in found.detail and "ComfyUI-C" not in found.detail
    assert "torch 2.14.1+cu130" in found.detail


def test_without_torch_there_is_nothing_to_replace() -> None:
    facts = pinned("torch==2.7.0")._replace(torch=Known(c.absent("torch", "x")))
    assert alone("custom-node-pins-torch", facts) is PASS


def test_a_pin_beside_an_unread_torch_is_undecided() -> None:
    assert (
        alone("custom-node-pins-torch", pinned("torch==2.7.0")._replace(torch=NOT_READ)) is UNKNOWN
    )
    assert alone("custom-node-pins-torch", pinned()._replace(torch=NOT_READ)) is PASS
    facts = pinned("torch==2.7.0")
    assert isinstance(facts.torch, Known)
    no_version = facts.torch.value._replace(version=NOT_READ)
    assert alone("custom-node-pins-torch", facts._replace(torch=Known(no_version))) is UNKNOWN
    unread = c.machine()._replace(comfyui=Known(a.comfyui(custom_nodes=NOT_READ)))
    assert judge_one("custom-node-pins-torch", unread).reason == "not read"


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.text(max_size=60) | st.text("torch=<>~!;.[]@+%-/ 0129'\"", max_size=40), max_size=5)
)
def test_no_line_is_too_strange(lines: list[str]) -> None:
    assert of_any_words("custom-node-pins-torch", pinned(*lines)) in (PASS, WARN)


# --- model paths -----------------------------------------------------------------------------


def file(*missing: tuple[str, str], folders: int = 9, fault: str = "", line: int = 0) -> PathsFile:
    shown = tuple((place, a.plain(path)) for place, path in missing)
    return PathsFile(a.plain("~/ComfyUI/extra_model_paths.yaml"), fault, line, shown, folders)


def paths(*files: PathsFile, there: tuple[str, ...] = (), source: str = "x.yaml") -> Facts:
    extra = tuple(ModelFolder("vae", a.plain(path), source, True) for path in there)
    extra += tuple(
        ModelFolder("vae", path, source, False) for each in files for _, path in each.missing
    )
    told = a.comfyui(path_files=files, folders=Known((*a.folders(), *extra)))
    return c.machine()._replace(comfyui=Known(told))


def outcomes(facts: Facts) -> list[Outcome]:
    found = catalogue()["model-paths-broken"].judge(facts, RECIPE)
    return [found] if isinstance(found, Outcome) else list(found)


def test_a_file_that_cannot_be_read_ends_the_start() -> None:
    found = judge_one("model-paths-broken", paths(file(fault="it is not valid YAML", line=7)))
    assert found.verdict is FAIL and "line 7" in found.title
    assert found.detail.endswith("ComfyUI ends its start over it.")


GONE = (("a111/checkpoints", "/mnt/old/models/ckpt"), ("a111/vae", "/mnt/old/models/VAE"))


def test_a_section_of_which_nothing_exists_is_warned_of() -> None:
    found = judge_one("model-paths-broken", paths(file(*GONE, folders=40)))
    assert found.verdict is WARN and "a111" in found.detail
    assert found.subject is not None and found.subject.public.endswith("extra_model_paths.yaml")


@pytest.mark.parametrize("source", ["extra_model_paths.yaml", "server"])
def test_one_absent_folder_beside_others_is_ordinary(source: str) -> None:
    there = ("/mnt/old/models/loras",)
    assert alone("model-paths-broken", paths(file(*GONE), there=there, source=source)) is PASS


def test_a_section_that_names_comfyuis_own_folders_is_ordinary() -> None:
    own = (("comfyui/vae", "~/ComfyUI/models/other"), ("comfyui/loras", "~/ComfyUI/models/more"))
    assert alone("model-paths-broken", paths(file(*own))) is PASS


def test_sections_are_judged_apart() -> None:
    both = file(*GONE, ("new/vae", "/mnt/new/vae"))
    found = judge_one("model-paths-broken", paths(both, there=("/mnt/new/checkpoints",)))
    assert found.verdict is WARN and found.evidence["sections"] == ("a111",)


def test_windows_paths_have_folders_too() -> None:
    gone = file(("sm/vae", r"D:\SM\Models\VAE"), ("sm/loras", r"D:\SM\Models\Lora"))
    assert alone("model-paths-broken", paths(gone)) is WARN
    assert alone("model-paths-broken", paths(gone, there=(r"D:\SM\Models\Ckpt",))) is PASS


def test_a_base_directory_without_models_fails() -> None:
    none = tuple(folder._replace(exists=False) for folder in a.folders())
    facts = c.machine()._replace(comfyui=Known(a.comfyui(folders=Known(none))))
    found = judge_one("model-paths-broken", facts)
    assert found.verdict is FAIL and found.fixes


def test_every_file_is_told_and_ignorance_is_no_fault() -> None:
    two = paths(file(fault="it is empty"), file(*GONE))
    assert [outcome.verdict for outcome in outcomes(two)] == [FAIL, WARN]
    unread = a.comfyui(folders=NOT_READ, path_files=(file(*GONE),))
    assert alone("model-paths-broken", c.machine()._replace(comfyui=Known(unread))) is UNKNOWN
    broken = a.comfyui(folders=NOT_READ, path_files=(file(fault="it is empty"),))
    assert alone("model-paths-broken", c.machine()._replace(comfyui=Known(broken))) is FAIL


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.text(max_size=8), st.text("/\\ab", max_size=8)), max_size=5))
def test_no_path_is_too_strange(missing: list[tuple[str, str]]) -> None:
    assert of_any_words("model-paths-broken", paths(file(*missing))) in (PASS, WARN)
