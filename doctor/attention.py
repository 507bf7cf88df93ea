"""Facts about who asks for another attention implementation than the default. Paths Private."""

from typing import NamedTuple

from klein_doctor.values import Private


class Override(NamedTuple):
    """A place that asks for an attention implementation other than the default.

    kind: ``source`` or ``config``. line: of the value in its file, 0 where it could not be told.
    how: the way it is asked for. In source ``attn_implementation``, ``_attn_implementation``,
    ``_attn_implementation_internal``, ``set_attn_implementation``, ``use_flash_attention_2``
    (transformers); ``set_attention_backend``, ``attention_backend`` (the context manager),
    ``enable_xformers_memory_efficient_attention``, ``environ`` (DIFFUSERS_ATTN_BACKEND is set)
    (diffusers); ``override`` (ComfyUI's optimized_attention_override); ``parameter default``,
    ``argument default`` (of a command line) and ``widget default`` (of a ComfyUI node), which hold
    until somebody chooses otherwise. In a config the key's name.
    asks: the value as written, such as ``flash_attention_2``, ``flash`` or
    ``kernels-community/flash-attn2``; printable and cut.
    owner: what it is given to, such as ``AutoModelForCausalLM``; "" unknown. model: the literal
    first argument of from_pretrained, such as ``Qwen/Qwen3-4B``; "" without one.
    node: the name of the custom node it belongs to, "" outside custom_nodes.
    klein: the same file names Klein, FLUX.2 or Qwen3.
    """

    kind: str
    path: Private
    line: int
    how: str
    asks: str
    owner: str
    model: str
    node: str
    klein: bool


class Replaced(NamedTuple):
    """A place that puts another function where the attention of all models goes through.

    target: the full name of what it replaces, such as
    ``torch.nn.functional.scaled_dot_product_attention``. by: the name of what is put there, ""
    where it has none. calls: functions of attention packages that this is or calls, such as
    ``flash_attn_func``. needs: modules without which the place is not come to.
    turns: it changes the order of the axes, or names one. masked: it reads the mask that it is
    given; True where that cannot be told. when: ``import`` (as its file is loaded), ``call`` (in a
    function that its own file does not call), ``choice`` (under a condition or option).
    node: the name of the custom node it belongs to, "" outside custom_nodes.
    """

    path: Private
    line: int
    target: str
    by: str
    calls: tuple[str, ...]
    needs: tuple[str, ...]
    turns: bool
    masked: bool
    when: str
    node: str


class Scan(NamedTuple):
    """What a search for overrides found.

    replaced: what stands in the place of all models' attention. files: looked at. complete: False
    where a bound or the time limit ended it. unread: files that could not be read or parsed though
    they hold a telling word.
    """

    overrides: tuple[Override, ...]
    files: int
    complete: bool
    unread: int
    replaced: tuple[Replaced, ...] = ()
