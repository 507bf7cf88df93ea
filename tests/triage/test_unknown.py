"""What is none of this model's business is not explained: no match, exit code 1."""

from __future__ import annotations

import pytest
from asking import checks
from command import doctor

_HEAD = (
    "Traceback (most recent call last):\n"
    '  File "/opt/ComfyUI/execution.py", line 518, in execute\n    x\n'
)
UNRELATED = {
    "a KeyError in a node": _HEAD
    + '  File "/opt/ComfyUI/custom_nodes/facetools/nodes.py", line 88, in run\n'
    "    box = data['boxes'][0]\nKeyError: 'boxes'",
    "CORS": "Access to fetch at 'http://127.0.0.1:8188/prompt' from origin 'http://localhost:3000' "
    "has been blocked by CORS policy: No 'Access-Control-Allow-Origin' header is present on the "
    "requested resource.",
    "npm": "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree\nnpm ERR! "
    "Found: react@18.2.0\nnpm ERR! peer react@\"^17.0.0\" from material-table@2.0.3",
    "a training run": _HEAD + '  File "/data/train.py", line 410, in main\n    loss = f(a, b)\n'
    "RuntimeError: The size of tensor a (64) must match the size of tensor b (32) at dimension 3",
    "a git merge": "Auto-merging nodes.py\nCONFLICT (content): Merge conflict in nodes.py\n"
    "Automatic merge failed; fix conflicts and then commit the result.",
    "a port in use": "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', "
    "8188): address already in use",
    "a JSON typo": "json.decoder.JSONDecodeError: Expecting ',' delimiter: line 4 "
    "column 3 (char 61)",
    "a picture": "PIL.UnidentifiedImageError: cannot identify image file <_io.BytesIO object>",
    "an index": _HEAD + '  File "/x/custom_nodes/y.py", line 1, in z\nIndexError: list index '
    "out of range",
    "ffmpeg": "[vost#0:0] Unknown encoder 'libx264'\nError opening output file out.mp4.\nError "
    "opening output files: Encoder not found",
    "a database": "psycopg2.OperationalError: FATAL:  role \"app\" does not exist",
    "a compiler": "error[E0382]: borrow of moved value: `config`\n  --> src/main.rs:14:20",
    "a web server": "nginx: [emerg] host not found in upstream \"backend\" in /etc/nginx/x.conf:3",
    "a node's own HTTP": _HEAD + '  File "/x/custom_nodes/llm/n.py", line 9, in f\n'
    "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: "
    "http://localhost:11434/api/generate",
    "JavaScript": "Uncaught TypeError: Cannot read properties of undefined (reading 'widgets')\n"
    "    at app.js:1204:31",
    "a LoRA": "lora key not loaded: lora_unet_double_blocks_0_img_attn_proj.alpha",
    "pytest": "E       assert 3 == 4\nFAILED tests/test_x.py::test_y - assert 3 == 4",
    "prose": "How do I write a good prompt for a portrait of a cat in the rain?",
    "more prose": "Thanks, it works now. The pictures are beautiful and it takes 3 seconds.",
}  # fmt: skip

HEALTHY = """\
Adding extra search path checkpoints /data/models/checkpoints
Adding extra search path vae /data/models/vae
[START] Security scan
[DONE] Security scan
## ComfyUI-Manager: installing dependencies done.
** ComfyUI startup time: 2026-11-20 10:11:12.345
** Platform: Linux
** Python version: 3.12.3 (main, Feb  4 2026, 14:48:35) [GCC 13.3.0]
** Python executable: /opt/ComfyUI/.venv/bin/python
** ComfyUI Path: /opt/ComfyUI
** ComfyUI Base Folder Path: /opt/ComfyUI
** User directory: /opt/ComfyUI/user
** ComfyUI-Manager config path: /opt/ComfyUI/user/default/ComfyUI-Manager/config.ini
** Log path: /opt/ComfyUI/user/comfyui.log

Prestartup times for custom nodes:
   0.0 seconds: /opt/ComfyUI/custom_nodes/rgthree-comfy
   1.2 seconds: /opt/ComfyUI/custom_nodes/ComfyUI-Manager

Checkpoint files will always be loaded safely.
Total VRAM 11944 MB, total RAM 64215 MB
pytorch version: 2.14.1+cu130
Set vram state to: NORMAL_VRAM
Device: cuda:0 NVIDIA GeForce RTX 5070 : cudaMallocAsync
Using async weight offloading with 2 streams
Enabled pinned memory 61004.0
working around nvidia conv3d memory bug.
Found comfy_kitchen backend cuda: {'available': True, 'disabled': False, 'unavailable_reason': None}
Found comfy_kitchen backend eager: {'available': True, 'disabled': False}
Found comfy_kitchen backend triton: {'available': True, 'disabled': True}
DynamicVRAM support detected and enabled
Using pytorch attention
Python version: 3.12.3 (main, Feb  4 2026, 14:48:35) [GCC 13.3.0]
ComfyUI version: 0.33.0
comfy-aimdo version: 0.4.13
comfy-kitchen version: 0.2.31
ComfyUI frontend version: 1.49.6
[Prompt Server] web root: /opt/ComfyUI/.venv/lib/python3.12/site-packages/comfyui_frontend_package/x
### Loading: ComfyUI-Manager (V3.39.2)
[ComfyUI-Manager] network_mode: public
### ComfyUI Revision: 4521 [0123abcd] *DETACHED | Released on '2026-11-12'
[rgthree-comfy] Loaded 48 epic nodes.

Import times for custom nodes:
   0.0 seconds: /opt/ComfyUI/custom_nodes/websocket_image_save.py
   0.1 seconds: /opt/ComfyUI/custom_nodes/rgthree-comfy
   0.4 seconds: /opt/ComfyUI/custom_nodes/ComfyUI-Manager

Context impl SQLiteImpl.
Will assume non-transactional DDL.
Assets scan(roots=['models']) completed in 0.021s (created=0, skipped_existing=31, total_seen=31)
Starting server

To see the GUI go to: http://127.0.0.1:8188
[ComfyUI-Manager] All startup tasks have been completed.
got prompt
Found quantization metadata version 1
Using MixedPrecisionOps for text encoder
Requested to load Flux2TEModel_
loaded completely; 95367431640625005117571072.00 MB usable, 7672.25 MB loaded, full load: True
CLIP/text encoder model load device: cuda:0, offload device: cpu, current: cpu, dtype: torch.float16
model weight dtype torch.bfloat16, manual cast: None
model_type FLUX
Requested to load Flux2
Model Flux2 prepared for dynamic VRAM loading. 3903MB Staged. 0 patches attached.
100%|##########| 4/4 [00:02<00:00,  1.52it/s]
Requested to load AutoencoderKL
Prompt executed in 9.31 seconds
"""


@pytest.mark.parametrize("name", UNRELATED)
def test_errors_of_other_things(name: str) -> None:
    assert checks(UNRELATED[name]) == []


def test_a_healthy_log_speaks_for_nothing() -> None:
    assert len(HEALTHY.splitlines()) >= 60
    assert checks(HEALTHY) == []
    assert checks(HEALTHY.replace("\n", "\r\n") * 3) == []


@pytest.mark.parametrize("name", ["a KeyError in a node", "CORS", "prose"])
def test_an_error_in_a_healthy_log_is_not_put_on_something_else(name: str) -> None:
    assert checks(HEALTHY + UNRELATED[name]) == []


@pytest.mark.parametrize("name", ["npm", "a training run"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_known_is_code_1(name: str, form: str) -> None:
    ran = doctor("triage", "--format", form, "-", stdin=UNRELATED[name].encode())
    assert (ran.code, ran.err) == (1, "")
    if form == "json":
        assert ran.document == {"schema": "klein-doctor/triage/1", "matches": []}
    else:
        assert ran.out.startswith("Nothing known here.")
        assert max(map(len, ran.out.splitlines())) <= 80
