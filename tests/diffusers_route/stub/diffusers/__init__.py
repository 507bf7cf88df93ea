"""See README."""

import os
from types import SimpleNamespace

import torch
from PIL import Image
from transformers import utils as utils

__version__ = "0.42.1"


class Flux2KleinPipeline:
    def __init__(self):
        self.vae = SimpleNamespace(decode=self._decode)
        self.image_processor = SimpleNamespace(postprocess=self._postprocess)

    @classmethod
    def from_pretrained(cls, folder, *, local_files_only, use_safetensors, dtype):
        assert local_files_only and use_safetensors and "HF_TOKEN" not in os.environ
        torch.fault("load")
        return cls()

    def set_progress_bar_config(self, disable):
        pass

    def to(self, device):
        torch.fault("place")

    def encode_prompt(self, prompt, device):
        torch.fault("encode")
        return torch.Tensor(), None

    def __call__(self, *, callback_on_step_end, num_inference_steps, **asked):
        for step in range(num_inference_steps):
            torch.fault("denoise")
            torch.fault(f"after step {step}")
            callback_on_step_end(self, step, None, {})
        return SimpleNamespace(images=torch.Tensor())

    def _decode(self, latents, return_dict):
        torch.fault("decode")
        return (torch.Tensor(),)

    def _postprocess(self, pixels, output_type):
        return [Image.effect_noise((128, 128), 64).convert("RGB")]
