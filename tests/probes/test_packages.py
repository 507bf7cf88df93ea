"""Distributions by their install records: real environments and folders of many shapes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from targets import make_venv, put_record, site_packages

from klein_doctor.installation import Installed
from klein_doctor.model import Interpreter, Known, Private
from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.packages import (
    normalised,
    read_packages,
    read_versions,
    records,
    requirements,
)

WATCHED = frozenset({"torch", "torchvision", "numpy", "transformers", "huggingface-hub"})
plain = Private.plain


def target(*folders: Path) -> Interpreter:
    """A target that imports from these folders, in this order."""
    return Interpreter(
        path=plain("/env/bin/python"),
        fault=plain(""),
        version=Known((3, 12, 3)),
        kind="venv",
        prefix=plain("/env"),
        site_packages=tuple(plain(str(folder)) for folder in folders),
        has_pip=True,
        has_uv=False,
    )


def metadata(site: Path, name: str, version: str, text: str) -> None:
    record = put_record(site, name, version)
    (record / "METADATA").write_bytes(text.encode())


def versions(*folders: Path) -> dict[str, str]:
    return {name: item.version for name, item in read_versions(target(*folders)).items()}


def test_a_real_environment(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "env")
    site = site_packages(tmp_path / "env")
    put_record(site, "torch", "2.14.1+cu130")
    put_record(site, "huggingface_hub", "1.30.0")
    outside = Outside(Path("/"), {}, "linux", Redactor((), (), ()))
    interpreter = read_interpreter(outside, str(python))
    found = read_versions(interpreter)
    assert found["huggingface-hub"] == Installed("huggingface-hub", "1.30.0", (), 0)
    assert found["torch"].version == "2.14.1+cu130"
    packages = read_packages(found, interpreter, WATCHED)
    assert packages.total == 2 and packages.version("torch") == "2.14.1+cu130"
    assert packages.version("numpy") is None


def test_names_of_every_shape(tmp_path: Path) -> None:
    for name in (
        "Torch_Vision.Extra-1.0rc1.dist-info",
        "old-name-with-dashes-2.dist-info",
        "PyYAML-6.0.1-py3.12.egg-info",
        "numpy-1.26.4.egg-info",
        "torch-2.6.0a0+git.1.dist-info",
        "~orch-2.5.0.dist-info",
        "-orch-2.5.0.dist-info",
        "noversion.dist-info",
        "name-.dist-info",
        "-1.0.dist-info",
        ".dist-info",
        "torch",
        "ünicode-1.0.dist-info",
        "spaced name-1.0.dist-info",
        f"{'x' * 200}-1.0.dist-info",
    ):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == {
        "torch-vision-extra": "1.0rc1",
        "old-name-with-dashes": "2",
        "pyyaml": "6.0.1",
        "numpy": "1.26.4",
        "torch": "2.6.0a0+git.1",
    }


def test_a_source_tree_installed_in_place_writes_its_version_inside(tmp_path: Path) -> None:
    (tmp_path / "my_nodes.egg-info").mkdir()
    (tmp_path / "my_nodes.egg-info/PKG-INFO").write_text("Name: my-nodes\nVersion: 0.3\n\nx\n")
    (tmp_path / "broken.egg-info").mkdir()
    (tmp_path / "hostile.egg-info").write_text("Version: /home/jane\n")
    assert versions(tmp_path) == {"my-nodes": "0.3"}


def test_the_first_on_the_path_wins(tmp_path: Path) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    put_record(own, "numpy", "2.3.5")
    put_record(shared, "numpy", "1.26.4")
    put_record(shared, "torch", "2.6.0")
    found = read_versions(target(own, tmp_path / "absent", shared))
    assert (found["numpy"].version, found["numpy"].place) == ("2.3.5", 0)
    assert (found["torch"].version, found["torch"].place) == ("2.6.0", 2)


def test_what_an_interrupted_upgrade_leaves_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "numpy-1.26.4.dist-info").mkdir()
    metadata(tmp_path, "numpy", "2.3.5", "Name: numpy\nRequires-Dist: torch\n")
    found = read_versions(target(tmp_path))
    assert found["numpy"].version == "2.3.5"
    packages = read_packages(found, target(tmp_path), WATCHED)
    assert packages.listed == (Installed("numpy", "2.3.5", ("torch",), 0),)


def test_requirements_on_what_is_watched(tmp_path: Path) -> None:
    text = (
        "Metadata-Version: 2.4\r\nName: transformers\r\nVersion: 5.23.0\r\n"
        "Requires-Dist: filelock\r\n"
        "Requires-Dist: huggingface_hub<2.0,>=1.3.0\r\n"
        "requires-dist: numpy>=1.17; python_version >= '3.10'\r\n"
        'Requires-Dist: torch>=2.4; extra == "torch"\r\n'
        "Requires-Dist: torch>=2.4 ; 'dev' == extra\r\n"
        "Requires-Dist: torchvision (>=0.19)\r\n"
        "Requires-Dist: torchvision-nightly\r\n"
        "\r\nRequires-Dist: torch==1.0\r\n"
    )
    metadata(tmp_path, "transformers", "5.23.0", text)
    put_record(tmp_path, "filelock", "3.20.0")
    found = read_packages(read_versions(target(tmp_path)), target(tmp_path), WATCHED)
    assert found.total == 2
    assert found.listed == (
        Installed(
            "transformers",
            "5.23.0",
            (
                "huggingface_hub<2.0,>=1.3.0",
                "numpy>=1.17; python_version >= '3.10'",
                "torchvision (>=0.19)",
            ),
            0,
        ),
    )


def test_an_address_never_stays() -> None:
    lines = (
        "Requires-Dist: torch @ https://jane:hunter2@wheels.corp/torch.whl\n"
        "Requires-Dist: numpy[extra]@git+ssh://jane:hunter2@host/x ; python_version > '3'\n"
        "Requires-Dist: torchvision ; sys_platform == 'x' @ https://a:hunter2@b\n"
    )
    assert requirements(lines, WATCHED) == ["torch", "numpy[extra]", "torchvision"]


def test_long_headers_are_bounded() -> None:
    endless = "Requires-Dist: numpy>1\n" * 10_000
    assert 100 <= len(requirements(endless, WATCHED)) <= 200
    long = "Requires-Dist: numpy" + ",!=1" * 100 + "\n" + "Requires-Dist: torch\n"
    assert requirements(long, WATCHED) == ["torch"]
    described = "Name: x\n" + "License: y\n" * 1000 + "Requires-Dist: torch\n\nRequires-Dist: numpy"
    assert requirements(described, WATCHED) == ["torch"]


def test_odd_records_are_survived(tmp_path: Path) -> None:
    put_record(tmp_path, "torch", "2.6.0").joinpath("METADATA").unlink()
    (tmp_path / "torch-2.6.0.dist-info/METADATA").symlink_to("METADATA")
    (tmp_path / "numpy-2.0.dist-info/METADATA").mkdir(parents=True)
    (tmp_path / "transformers-5.0.dist-info").write_bytes(b"\xff\0" * 1000)
    if hasattr(os, "mkfifo"):
        (tmp_path / "torchvision-1.0.dist-info").mkdir()
        os.mkfifo(tmp_path / "torchvision-1.0.dist-info/METADATA")
    site = target(tmp_path, tmp_path / "torch-2.6.0.dist-info", tmp_path / "n\0l")
    found = read_packages(read_versions(site), site, WATCHED)
    assert {item.name for item in found.listed} >= {"torch", "numpy", "transformers"}
    assert not any(item.requires for item in found.listed)


def test_many_distributions(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"package_{number}-{number}.0.dist-info").mkdir()
    put_record(tmp_path, "torch", "2.14.1")
    found = read_packages(read_versions(target(tmp_path)), target(tmp_path), WATCHED)
    assert found.total == 501 and [item.name for item in found.listed] == ["torch"]


def test_versions_that_name_no_folder_any_more(tmp_path: Path) -> None:
    """The tree may change between the two looks."""
    gone = {"torch": Installed("torch", "2.6.0", (), 0), "numpy": Installed("numpy", "2", (), 7)}
    found = read_packages(gone, target(tmp_path), WATCHED)
    assert [(item.name, item.requires) for item in found.listed] == [("numpy", ()), ("torch", ())]


def test_names_are_compared_as_indexes_do() -> None:
    assert normalised("Huggingface__Hub.-x") == "huggingface-hub-x"


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=300), st.lists(st.one_of(
    st.text(max_size=30),
    st.tuples(
        st.sampled_from(["torch", "NumPy", "hugging.face_hub", "huggingface.hub", "x"]),
        st.sampled_from(["", ">=1", " @ https://u:hunter2@h/", ";extra=='x'", "[a]~=1; x", "(",
                         "\0"]),
        st.text(max_size=20),
    ).map("".join).map("Requires-Dist: {}".format),
), max_size=10).map("\n".join)))  # fmt: skip
@example("Requires-Dist: torch" + " " * 1900 + "x")
def test_any_text_can_be_metadata(text: str) -> None:
    for found in requirements(text, WATCHED):
        assert 0 < len(found) <= 200 and found.isascii() and found.isprintable()
        assert "@" not in found and "hunter2" not in found
        assert normalised(found).startswith(tuple(WATCHED))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1,
                        max_size=30), max_size=5))  # fmt: skip
def test_any_names_can_lie_in_a_folder(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                (Path(folder) / f"{name}-1.0.dist-info").mkdir(exist_ok=True)
            except OSError:
                continue
        for record in records(Path(folder)):
            assert record.name.isascii() and record.version[0].isdigit()
            assert record.path.is_dir()
