"""The values of a kernel proof and of a test generation: what was run, seen and measured.

All sizes in MiB unless the name says otherwise, all times in seconds.
"""

from typing import NamedTuple

from klein_doctor.values import Private


class KernelTest(NamedTuple):
    """One kernel on the card against an FP32 reference.

    outcome: ``ok``, ``wrong`` (beyond the tolerance, or not finite), ``error``, ``timeout`` or
    ``unsupported`` (the card or this torch does not offer it). required: the model needs it.
    error: the relative error against the reference, None where nothing came out. says: the first
    line of what went wrong.
    """

    name: str
    required: bool
    outcome: str
    error: float | None
    tolerance: float
    seconds: float
    says: str = ""


class Proof(NamedTuple):
    """What the target's torch did on the card, in a child of the target's Python.

    outcome: ``ok``, ``wrong`` (a required kernel failed), ``import-failed``, ``crashed``, ``hung``,
    ``no-cuda``, ``no-memory`` or ``not-started``. stage: the one it failed at, else the last one
    begun: ``start``, ``import``, ``context`` or a test's name. says: one line of what went wrong.
    signal: what ended the child, 0 where nothing did. device: the card's name, or ``cpu``.
    attention: the kernel that scaled_dot_product_attention picks: ``flash``, ``efficient``,
    ``cudnn``, ``math`` or "". peak_mib: of the card's memory, by the driver; -1 where nobody
    measured it.
    """

    outcome: str
    stage: str
    says: str
    signal: int
    torch: str
    device: str
    capability: tuple[int, int]
    attention: str
    tests: tuple[KernelTest, ...]
    peak_mib: int
    seconds: float


class Phase(NamedTuple):
    """A stretch of a run.

    name: ``start``, ``load``, ``place``, ``encode``, ``denoise``, ``decode`` or ``save``.
    picture: the number of the picture it belongs to, from 1; 0 for what belongs to none.
    """

    name: str
    picture: int
    began_s: float
    ended_s: float


class Sample(NamedTuple):
    """Memory at one moment of a run. -1 where nobody could tell."""

    at_s: float
    ours_mib: int
    others_mib: int
    free_mib: int
    ram_mib: int


class Texture(NamedTuple):
    """What the pixels of a picture measure, on its luminance scaled to a fixed size.

    std, mean: of luminance, 0 to 255. span: between its 1st and 99th percentile. lag1: how a pixel
    correlates with its right neighbour. edges: standard deviation of the Laplacian. bits: per
    pixel, as a JPEG of quality 85. colour: mean chroma distance from grey. coarse: the standard
    deviation that is left of 16x16 cells, over std. flat: the share of such cells that are of one
    value.
    """

    mean: float
    std: float
    span: float
    lag1: float
    edges: float
    bits: float
    colour: float
    coarse: float = 1.0
    flat: float = 0.0


class Picture(NamedTuple):
    """One picture of a run, in the order in which they were made.

    width, height: 0 where it could not be read. pixels: SHA-256 of the RGB bytes. cached: the
    sampler reported that it did nothing for it. not_finite: where NaN or infinity was seen first:
    ``latents``, ``decoded`` or "". fault: why the file is no picture, "" where it is one.
    """

    seed: int
    path: Private
    width: int
    height: int
    pixels: str
    seconds: float
    cached: bool
    not_finite: str
    texture: Texture | None
    fault: str = ""


class Remark(NamedTuple):
    """A line of a log that speaks against a run that reported success. kind: a row's id."""

    kind: str
    line: str


class Generation(NamedTuple):
    """One test generation: three pictures, seeds A, B, A.

    outcome: ``done``, ``failed``, ``interrupted`` or ``refused`` (the user's own queue is busy).
    stage: where it failed: a phase's name. kind: the exception's or the fault's short name, such as
    ``out-of-memory``, ``killed``, ``server-died``, ``hung``, ``disk-full``, ``gpu-lost``.
    says: one redacted line of what went wrong. explained: checks that triage names for it.
    plan: the memory plan's id. expectation: ``picture`` or ``reference``.
    repeated: mean difference of A and A again, on 0 to 255; differed: of A and B; None where the
    pictures could not be compared. predicted_mib: what the plan promised as its peak; peak_mib,
    ram_mib: what was measured, -1 where it was not. free_mib: on the card before it began.
    versions: of packages, as the run itself named them.
    """

    route: str
    outcome: str
    stage: str
    kind: str
    says: str
    explained: tuple[str, ...]
    plan: str
    expectation: str
    width: int
    height: int
    steps: int
    guidance: str
    prompt: str
    pictures: tuple[Picture, ...]
    repeated: float | None
    differed: float | None
    remarks: tuple[Remark, ...]
    phases: tuple[Phase, ...]
    samples: tuple[Sample, ...]
    free_mib: int
    predicted_mib: int
    peak_mib: int
    ram_mib: int
    cold_s: float
    warm_s: float
    versions: tuple[tuple[str, str], ...] = ()


class Proven(NamedTuple):
    """The last verified generation that the state folder remembers of this target.

    when: ``2026-11-24T07:00:00Z``. differs: what is not as it was then, in one line; "" where the
    card, the driver, the packages and the files are.
    """

    when: str
    route: str
    differs: str
