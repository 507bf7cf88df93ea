"""Facts about model files, diffusers folders and workflows. All sizes in bytes, paths Private."""

from typing import NamedTuple

from klein_doctor.values import Private


class ModelFile(NamedTuple):
    """A model file on the search path, as its content tells it; the words as in Identity.

    category: of the folder it lies in, such as ``vae``; "" directly below models/; in a diffusers
    folder ``transformer``, ``text_encoder`` or ``vae``. name: below that folder. named_for: the
    role of the published file that has this name, "" without one. named_variant: its variant.
    shadowed: ComfyUI never reaches it, because a file of the same name comes first.
    """

    category: str
    path: Private
    name: Private
    size: int
    role: str
    family: str
    variant: str
    quantisation: str
    verdict: str
    structure: str
    digest: str
    license: str
    layout: str
    known: str
    damage: str
    conditioning: int
    complete: bool
    says: str
    named_for: str
    named_variant: str
    shadowed: bool


class PipelineFolder(NamedTuple):
    """A diffusers folder of Klein 4B. verdict, says: as Identity, of the folder as a whole.

    kind: the pipeline class its index names. missing: relative names of what it lacks.
    """

    path: Private
    kind: str
    distilled: bool | None
    verdict: str
    digest: str
    says: str
    missing: tuple[str, ...]


class Duplicate(NamedTuple):
    """Files with the same digest that are stored apart; size of each."""

    size: int
    paths: tuple[Private, ...]


class Models(NamedTuple):
    """The model files that matter to Klein, and how many others there are.

    total: all model files seen. left: those not looked into for lack of time. unread: what could
    not be looked into, with the reason. duplicates: None unless every file was hashed.
    """

    total: int
    left: int
    files: tuple[ModelFile, ...]
    pipelines: tuple[PipelineFolder, ...]
    unread: tuple[tuple[Private, str], ...]
    duplicates: tuple[Duplicate, ...] | None


class WorkflowFile(NamedTuple):
    """A model file that a workflow's node loads. found: the search path holds such a name.

    active: the node is neither muted nor bypassed, nor is a subgraph it lies in.
    """

    node: str
    category: str
    name: Private
    active: bool
    found: bool
    family: str
    variant: str


class Workflow(NamedTuple):
    """A saved workflow that loads FLUX.2 files or uses its nodes.

    form: ``ui`` or ``api``. encoder_types: of its active CLIPLoader nodes. steps, cfg_tenths: of
    its active schedulers and guiders, cfg in tenths.
    """

    path: Private
    form: str
    files: tuple[WorkflowFile, ...]
    encoder_types: tuple[str, ...]
    steps: tuple[int, ...]
    cfg_tenths: tuple[int, ...]
