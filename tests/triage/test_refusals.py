"""Refusals: ComfyUI's validation, the Hub, files that are something else."""

from __future__ import annotations

import pytest
from asking import asked, checks, first


def not_in_list(field: str, value: str, listed: str = "[]") -> str:
    return f"Value not in list: {field}: '{value}' not in {listed}"


@pytest.mark.parametrize(
    ("field", "value", "listed", "check"),
    [
        ("unet_name", "flux-2-klein-4b-fp8.safetensors", "[]", "transformer-missing"),
        ("clip_name", "qwen_3_4b.safetensors", "['t5xxl.safetensors']", "encoder-missing"),
        ("clip_name1", "qwen_3_4b.safetensors", "['t5xxl.safetensors']", "encoder-missing"),
        ("vae_name", "flux2-vae.safetensors", "['ae.safetensors']", "vae-missing"),
        ("ckpt_name", "klein.safetensors", "[]", "transformer-missing"),
        ("unet_name", "flux2/klein.safetensors", "['klein.safetensors', 'x.safetensors']",
         "asset-misplaced"),
        ("unet_name", "klein.safetensors", "['x', 'FLUX2\\\\klein.safetensors']",
         "asset-misplaced"),
        ("type", "flux2", "['sd3', 'flux']", "comfyui-too-old"),
        ("type", "klein", "['flux', 'flux2']", "workflow-mismatch"),
        ("sampler_name", "euler_x", "['euler']", "workflow-mismatch"),
        ("weight_dtype", "fp4", "['default']", "workflow-mismatch"),
    ],
)  # fmt: skip
def test_value_not_in_list(field: str, value: str, listed: str, check: str) -> None:
    guess = asked("Failed to validate prompt for output 9:\n* " + not_in_list(field, value, listed))
    assert guess[0].check == check
    assert guess[0].cause.count("\n") == 0


def test_a_list_says_whether_the_folder_is_empty() -> None:
    assert "no file at all" in asked(not_in_list("vae_name", "a.safetensors"))[0].cause
    assert "other files" in asked(not_in_list("vae_name", "a.safetensors", "['b']"))[0].cause


@pytest.mark.parametrize("name", ["flux-2-klein-9b-fp8.safetensors", "flux2_dev_fp8.safetensors"])
def test_a_missing_9b_is_not_to_be_fetched_without_a_word(name: str) -> None:
    assert checks(not_in_list("unet_name", name))[:2] == [
        "transformer-missing", "license-non-commercial",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("Cannot execute because node EmptyFlux2LatentImage does not exist.", "comfyui-too-old"),
        ("missing_node_type\nclass_type: Flux2Scheduler", "comfyui-too-old"),
        ("Cannot execute because node UnetLoaderGGUF does not exist.", "quantisation-unsupported"),
        ("Cannot execute because node FancyThing does not exist.", "workflow-mismatch"),
        ("Cannot execute because a node is missing the class_type property.: Node ID '#9'",
         "workflow-mismatch"),
        ("This file does not exist", ""),
    ],
)  # fmt: skip
def test_nodes_that_are_missing(text: str, check: str) -> None:
    assert first(text) == check


# --- the Hub ---------------------------------------------------------------------------------

_GATED = (
    "GatedRepoError: 401 Client Error. Cannot access gated repo for url https://huggingface.co/"
)
_REFUSED = "HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/"


@pytest.mark.parametrize(
    ("text", "second", "certainty"),
    [
        (_GATED + "black-forest-labs/FLUX.2-klein-9B/resolve/main/x.", "license-non-commercial",
         "high"),
        (_GATED + "black-forest-labs/FLUX.2-dev/resolve/main/x.", "license-non-commercial", "high"),
        (_REFUSED + "black-forest-labs/FLUX.2-klein-4B/resolve/main/x", "", "high"),
        (_REFUSED + "Comfy-Org/x/resolve/main/split_files/text_encoders/qwen_3_4b.safetensors", "",
         "high"),
    ],
)  # fmt: skip
def test_what_was_refused_tells_9b_from_4b(text: str, second: str, certainty: str) -> None:
    found = asked(text)
    assert (found[0].check, found[0].certainty) == ("hub-access-refused", certainty)
    assert [guess.check for guess in found[1:2]] == [second][: bool(second)]
    assert ("open" in found[0].cause) is True


def test_a_path_sent_to_the_hub_is_no_refusal() -> None:
    text = "404 Client Error: Not Found for url: https://huggingface.co/models%5Cvae/resolve/main/x"
    assert "hub-access-refused" not in checks(text)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("incomplete metadata, file not fully covered", "MetadataIncompleteBuffer"),
        ("header too large", "HeaderTooLarge"),
        ("invalid header length", "InvalidHeaderLength"),
        ("header too small", "HeaderTooSmall"),
        ("invalid JSON in header: EOF while parsing a value at line 1 column 0",
         "InvalidHeaderDeserialization"),
        ("invalid UTF-8 in header", "InvalidHeader(Utf8Error)"),
        ("invalid offset for tensor `x`", 'InvalidOffset("x")'),
    ],
)  # fmt: skip
def test_safetensors_in_both_spellings(new: str, old: str) -> None:
    for text in (new, old):
        line = f"safetensors_rust.SafetensorError: Error while deserializing header: {text}"
        assert first(line) == "asset-damaged"
        near = asked(f"Loading /data/models/vae/flux2-vae.safetensors\n{line}")[0]
        assert near.check == "asset-damaged" and near.cause.startswith("flux2-vae.safetensors: ")


@pytest.mark.parametrize(
    ("arch", "check", "says"),
    [("qwen3vl", "quantisation-unsupported", "vision"), ("qwen2vl", "quantisation-unsupported", ""),
     ("qwen3", "quantisation-unsupported", "older"), ("gemma3", "quantisation-unsupported", "")],
)  # fmt: skip
def test_architectures_of_gguf_files(arch: str, check: str, says: str) -> None:
    guess = asked(f"ValueError: Unexpected text model architecture type in GGUF file: '{arch}'")[0]
    assert guess.check == check and says in guess.cause
    assert first(f"llama_model_load: error: unknown model architecture: '{arch}'") == check


@pytest.mark.parametrize(
    ("key", "says"), [("v", "git-lfs pointer"), ("<", "web page"), ("{", "error message")]
)
def test_the_first_sign_of_a_pickle_that_is_none(key: str, says: str) -> None:
    guess = asked(f"_pickle.UnpicklingError: invalid load key, '{key}'.")[0]
    assert (guess.check, guess.certainty) == ("asset-damaged", "high") and says in guess.cause


def test_a_pickle_with_more_than_numbers_is_not_called_damaged() -> None:
    text = "_pickle.UnpicklingError: Weights only load failed. This file can still be loaded"
    assert first(text) == "pickle-weights"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("RuntimeError: CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmul`",
         "quantisation-unsupported"),
        ("Using sage attention\nRuntimeWarning: invalid value encountered in cast", "image-blank"),
        ("RuntimeWarning: invalid value encountered in cast", "image-blank"),
        ("TypeError: 'NoneType' object is not callable", ""),
        ("To use the `--use-flash-attention` feature, the `flash-attn` package must be installed "
         "first.", "flash-attention-forced"),
        ("To use the `--use-sage-attention` feature, the `sageattention` package must be installed "
         "first.", "comfyui-flags-harmful"),
        ("main.py: error: unrecognized arguments: --normalvram", "comfyui-flags-harmful"),
    ],
)  # fmt: skip
def test_others(text: str, check: str) -> None:
    assert first(text) == check


def test_a_refusal_in_the_form_of_the_api_names_what_is_missing() -> None:
    text = (
        '{"error": {"type": "prompt_outputs_failed_validation"}, "node_errors": {"1": {"errors": '
        '[{"type": "value_not_in_list", "message": "Value not in list", "details": '
        "\"unet_name: 'klein.safetensors' not in ['other.safetensors']\"}]}}}"
    )
    assert checks(text)[0] == "transformer-missing"


# --- extra_model_paths.yaml ------------------------------------------------------------------

_LOADER = """Traceback (most recent call last):
  File "/opt/ComfyUI/main.py", line 117, in <module>
    apply_custom_paths()
  File "/opt/ComfyUI/utils/extra_config.py", line 8, in load_extra_path_config
    config = yaml.safe_load(stream)
  File "/opt/venv/lib/python3.12/site-packages/yaml/scanner.py", line 258, in fetch_more_tokens
    raise ScannerError("while scanning for the next token", None,
yaml.scanner.ScannerError: """
_TAB = (
    _LOADER
    + """while scanning for the next token
found character '\\t' that cannot start any token
  in "/opt/ComfyUI/extra_model_paths.yaml", line 2, column 1
"""
)
_COLON = (
    _LOADER
    + """mapping values are not allowed here
  in "/opt/ComfyUI/extra_model_paths.yaml", line 4, column 15
"""
)


def test_a_tab_in_the_paths_is_quoted_and_called_one() -> None:
    (guess,) = asked(_TAB)
    assert (guess.check, guess.certainty) == ("model-paths-broken", "high")
    assert guess.line == r"found character '\t' that cannot start any token"
    assert (
        guess.cause == "extra_model_paths.yaml, line 2: a tab stands where YAML allows only spaces."
    )
    assert "spaces in the place of the tab" in guess.do


def test_other_faults_of_the_paths_are_quoted_with_their_place() -> None:
    (guess,) = asked(_COLON)
    assert guess.line == "yaml.scanner.ScannerError: mapping values are not allowed here"
    assert guess.cause.startswith("extra_model_paths.yaml, line 4: not valid YAML")
