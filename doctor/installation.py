"""Facts about what is installed and what it lives on: ComfyUI, packages, memory, disks.

All sizes in bytes. Paths and addresses are Private; what a check needs of one is a field of its
own, so that a redacted report judges alike.
"""

from typing import NamedTuple

from klein_doctor.launched import Moved, Started
from klein_doctor.values import Fact, Private

# --- where ComfyUI is ------------------------------------------------------------------------


class Install(NamedTuple):
    """A ComfyUI that was found: its code folder, and the Python that runs it.

    kind: ``manual``, ``portable``, ``desktop``, ``desktop-2``, ``comfy-cli``, ``stability-matrix``
    or ``pinokio``. found_by: ``--comfyui``, ``server``, ``current folder``, ``home folder``,
    ``usual folder`` or the name of the launcher whose settings named it.
    python: the interpreter it really uses, None where its files do not tell.
    python_from: ``server``, ``launcher`` (a file that starts it names it), ``own`` (inside the
    installation), ``VIRTUAL_ENV``, ``CONDA_PREFIX``, "" where python is None.
    base: the folder with models/, custom_nodes/, user/. last_used: seconds since 1970, None
    unknown. port: of the server that runs it, None.
    """

    root: Private
    kind: str
    found_by: str
    python: Private | None
    python_from: str
    base: Private
    last_used: int | None
    port: int | None


class Search(NamedTuple):
    """The search for ComfyUI.

    chosen: index into found, None when none is judged. why: the choice in words, "" where there
    was none to make. looked: the kinds of places that were looked at.
    """

    found: tuple[Install, ...]
    chosen: int | None
    why: str
    looked: tuple[str, ...]

    def judged(self) -> Install | None:
        """The chosen one; None also where a report names one that it does not hold."""
        there = self.chosen is not None and 0 <= self.chosen < len(self.found)
        return self.found[self.chosen] if there and self.chosen is not None else None


class Flag(NamedTuple):
    """One argument ComfyUI is started with; its value where it is known to be harmless, else "".

    name: ``--listen``, as written.
    """

    name: str
    value: Private


class Server(NamedTuple):
    """Something that listens on a port ComfyUI uses, asked on loopback only.

    outcome: ``ok`` (it is a ComfyUI), ``other`` (it answers, but is none), ``slow``, ``redirects``.
    pid, rss_bytes: of its process and the memory it holds, None where the system does not tell.
    listen: who can reach it by its arguments: ``loopback``, ``any`` (all interfaces), ``private``
    (one address of a private network), ``public`` or "" where it does not tell.
    flags: its arguments. devices: (name, total, free) of each GPU in bytes as it counts them.
    """

    port: int
    outcome: str
    detail: str
    pid: int | None
    rss_bytes: int | None
    version: str
    torch: str
    python: str
    listen: str
    flags: tuple[Flag, ...]
    devices: tuple[tuple[str, int, int], ...]


# --- what ComfyUI is -------------------------------------------------------------------------


class Checkout(NamedTuple):
    """The git state of a source tree, read from its files.

    commit: full hash. branch: "" when detached. dirty: a file git tracks differs in size or time
    from the index; Unknown where the index cannot be read. shallow: its history was cut off.
    release: the version tag that names the commit, "" for none, or where its files do not tell.
    """

    commit: str
    branch: str
    dirty: Fact[bool]
    shallow: bool = False
    release: str = ""


class Wanted(NamedTuple):
    """One line of a requirements file that names a package.

    name: normalised. text: the whole requirement. installed: the version found in the target, None
    when absent. applies: its marker holds for the target.
    """

    name: str
    text: str
    installed: str | None
    applies: bool


class NodePin(NamedTuple):
    """A requirement of a custom node that names torch or one of its partners."""

    node: str
    file: str
    line: int
    text: str


class CustomNodes(NamedTuple):
    """What lies below custom_nodes; names in order, at most a few hundred of them."""

    total: int
    disabled: int
    names: tuple[Private, ...]
    pins: tuple[NodePin, ...]


class Launcher(NamedTuple):
    """A file or saved setting that starts this ComfyUI.

    kind: ``bat``, ``sh``, ``ps1``, ``desktop``, ``desktop-2``, ``comfy-cli``,
    ``stability-matrix``, ``pinokio`` or ``server`` (the arguments of the running one).
    line: of the command in the file, 0 where it has none. listen: as Server.listen.
    isolated: the interpreter is given -s (the user's own packages stay out); None does not matter.
    started: the environment that it names, None where it names none.
    """

    kind: str
    path: Private
    line: int
    flags: tuple[Flag, ...]
    listen: str
    isolated: bool | None
    started: Started | None = None


class ModelFolder(NamedTuple):
    """One place ComfyUI looks for models of a category, in its own order.

    category: ``diffusion_models``, ``text_encoders``, ``vae``, ``checkpoints`` or ``loras``.
    source: ``server`` (its own answer), ``models``, ``output`` or the name of a YAML file.
    """

    category: str
    path: Private
    source: str
    exists: bool


class PathsFile(NamedTuple):
    """An extra_model_paths.yaml, or a file given by --extra-model-paths-config.

    fault: why it cannot be used, "" when it can. line: where, 0 unknown.
    missing: what it names that does not exist, as ``section/category`` and path.
    cure: how a faulty one can be mended without knowing what was meant, in words; "" by hand alone.
    """

    path: Private
    fault: str
    line: int
    missing: tuple[tuple[str, Private], ...]
    folders: int
    cure: str = ""


class ComfyUI(NamedTuple):
    """The chosen ComfyUI.

    root, kind: as Install. base: the folder with models/ and custom_nodes/.
    version: of comfyui_version.py. klein, flux2: the identifiers of that support are in its files.
    checkout: None where it is no git checkout. requirements: of its requirements.txt.
    """

    root: Private
    kind: str
    base: Private
    version: Fact[str]
    klein: Fact[bool]
    flux2: Fact[bool]
    checkout: Fact[Checkout | None]
    requirements: Fact[tuple[Wanted, ...]]
    custom_nodes: Fact[CustomNodes]
    launchers: tuple[Launcher, ...]
    folders: Fact[tuple[ModelFolder, ...]]
    path_files: tuple[PathsFile, ...]


# --- the target's packages and what surrounds them -------------------------------------------


class Installed(NamedTuple):
    """A distribution that matters to a route.

    name: normalised. requires: its requirements on other distributions that matter.
    place: the index of its folder in Interpreter.site_packages.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    place: int


class Packages(NamedTuple):
    """The target's distributions, from dist-info: how many, and those that matter.

    A distribution found twice is listed as Python would import it: the first on the path.
    """

    total: int
    listed: tuple[Installed, ...]

    def version(self, name: str) -> str | None:
        """The version of a distribution by its normalised name, None when it is not there."""
        return next((item.version for item in self.listed if item.name == name), None)


class Surroundings(NamedTuple):
    """What stands around the target's Python.

    managed: the PEP 668 marker in force for it, None without one; managed_by: its first words.
    user_site: the user's own package folder where the target imports from it, else None;
    user_packages: what of it matters to a route.
    path_python, path_pip: the first python and pip on PATH, None without one; the booleans tell
    whether these act on the target. doctor_inside: the doctor is installed in the target.
    shadowing: CUDA libraries in LD_LIBRARY_PATH that come before torch's own.
    path_uv: uv is on PATH; None where the target has pip, and nobody needs to know.
    moved: where the target leads as an environment that was moved, None where it was not.
    """

    managed: Private | None
    managed_by: str
    user_site: Private | None
    user_packages: tuple[str, ...]
    path_python: Private | None
    path_python_is_target: bool
    path_pip: Private | None
    path_pip_is_target: bool
    doctor_inside: bool
    shadowing: tuple[Private, ...]
    path_uv: bool | None = None
    moved: Moved | None = None


PRIVATE = ".venv-klein"  # an environment that the doctor made beside one that is left as it is
CONSTRAINTS = "klein-doctor-constraints.txt"  # the doctor's own, in the environment's folder
BLACKLIST = "pip_blacklist.list"  # what ComfyUI-Manager never installs


class Pin(NamedTuple):
    """A constraint that binds a package: ``torch``, ``==2.14.1+cu130`` (``@`` an address).

    file: where it stands. own: the doctor wrote that file.
    """

    name: str
    wants: str
    file: Private
    own: bool


class Guard(NamedTuple):
    """What binds torch and its partners to their versions where ComfyUI's nodes install.

    pip: of the constraints that pip keeps to in the target. uv: of those that UV_CONSTRAINT names.
    unread: constraints pip is told of that are addresses or cannot be read.
    manager: the folder with ComfyUI-Manager's lists, None without it; listed: which of the three
    it never installs; manager_uv: it installs with uv, which reads nothing of pip's.
    """

    pip: tuple[Pin, ...]
    uv: tuple[Pin, ...]
    unread: int
    manager: Private | None
    listed: tuple[str, ...]
    manager_uv: bool


# The variables that name a proxy, in the order they are told in; the values may hold passwords.
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Setting(NamedTuple):
    """An environment variable of the allow-list that is set."""

    name: str
    value: Private


class Secret(NamedTuple):
    """A place where a Hub token can be read by others; the token itself is never kept.

    kind: ``file`` (readable by others), ``launcher`` or ``workflow`` (written in plain text).
    readable_by: ``group``, ``everyone`` or "" (whoever gets the file).
    """

    kind: str
    path: Private
    line: int
    readable_by: str


class HubTrouble(NamedTuple):
    """What the last download met at the Hub, as it was written down then; nothing is asked anew.

    when: ``2026-11-24T07:00:00Z``. endpoint: the address that was asked. cause: a word of
    recipes/hub.toml, or ``offline``. says: one sentence; repo: ``owner/name``; both fit for
    anybody's eyes.
    """

    when: str
    endpoint: Private
    cause: str
    says: str
    repo: str


class Hub(NamedTuple):
    """What is known of the way to the Hub; last: None where no trouble is on record."""

    last: HubTrouble | None


class Past(NamedTuple):
    """The last run on this target in which all was well, as the state folder remembers it.

    created: ``2026-11-24T07:00:00Z``. torch: its version then, "" where none was there.
    packages: name and version then, of those that matter to a route.
    """

    created: str
    torch: str
    packages: tuple[tuple[str, str], ...]


# --- memory and disks ------------------------------------------------------------------------


class Memory(NamedTuple):
    """System memory as this process may use it.

    total, available: of the machine, or of WSL's virtual machine. limit: the smallest limit a
    control group sets on this process, None without one; limit_free: what is left below it, with
    reclaimable file cache counted as free; limited_by: ``cgroup v1``, ``cgroup v2`` or "".
    commit_limit, commit_free: RAM plus page file, what Windows promises at most; None elsewhere.
    swap: on disk. zram: swap held compressed in RAM, which adds far less than it shows.
    """

    total: int
    available: int
    limit: int | None
    limit_free: int | None
    limited_by: str
    commit_limit: int | None
    commit_free: int | None
    swap_total: int
    swap_free: int
    zram_total: int
    zram_free: int

    def usable(self) -> int:
        """What a new process may take now without swapping."""
        bounds = (self.available, self.limit_free, self.commit_free)
        return min(bound for bound in bounds if bound is not None)


class Disk(NamedTuple):
    """The file system behind a folder the model needs.

    role: ``models``, ``hub-cache``, ``temp`` or ``state``. path: the folder, or the nearest one
    above it that exists. volume: equal for folders on the same file system.
    kind: ``ext4``, ``ntfs``, ``overlay``, ``9p``... or "". writable: as this user, by its rights.
    longest: characters of the longest path that model files get below it.
    """

    role: str
    path: Private
    volume: int
    kind: str
    total: Fact[int]
    free: Fact[int]
    writable: Fact[bool]
    ascii: bool
    longest: int
