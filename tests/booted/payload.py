"""What a run puts into the machine: byway by the real script/install, and the guest's programs."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from booted.image import (
    CHECKOUT,
    HERE,
    Image,
    ImageError,
    cache_folder,
    locked,
    report,
    run,
    tree_hash,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# All that script/install reads.
INSTALLED = (
    "byway.toml.example",
    "byway_systemd",
    "completions",
    "man",
    "pyproject.toml",
    "README.md",
    "requirements-build.lock",
    "requirements.lock",
    "script/install",
    "script/lib.sh",
    "templates",
    "units",
)


def write_payload(image: Image, target: Path, *, byway: bool) -> None:
    """Write the run's tar for /dev/vdb."""
    shutil.copyfile(guest_tar(), target)
    if byway:
        run("tar", "--concatenate", "--file", target, byway_tar(image))


def byway_tar(image: Image) -> Path:
    """What installing this checkout changes in IMAGE's root file system, as a tar."""
    present = [CHECKOUT / name for name in INSTALLED if (CHECKOUT / name).exists()]
    tar = cache_folder() / f"{image.folder.name}-byway-{tree_hash(*present)}.tar"
    with locked(cache_folder() / "byway.lock"):
        if not tar.exists():
            report("installing byway into the machine")
            forget_older(tar, f"{image.folder.name}-byway-*.tar")
            with overlay(image.root) as (root, changed):
                run(CHECKOUT / "script" / "install", "--destdir", root)
                archive(changed, tar)
    return tar


def guest_tar() -> Path:
    """The agent and the other programs of guest/, as a tar."""
    tar = cache_folder() / f"guest-{tree_hash(HERE / 'guest', HERE / 'payload.py')}.tar"
    with locked(cache_folder() / "guest.lock"), tempfile.TemporaryDirectory() as name:
        if not tar.exists():
            forget_older(tar, "guest-*.tar")
            folder = Path(name) / "usr" / "local" / "lib" / "booted"
            shutil.copytree(HERE / "guest", folder, ignore=shutil.ignore_patterns("__pycache__"))
            for source in folder.glob("*.c"):
                # static: one binary serves every release
                program = Path(name) / "usr" / "local" / "bin" / source.stem
                program.parent.mkdir(exist_ok=True)
                run("gcc", "-static", "-O1", "-Wall", "-Werror", "-o", program, source)
            archive(Path(name), tar)
    return tar


def forget_older(tar: Path, pattern: str) -> None:
    """Remove what earlier states of the checkout left, but the last few."""
    older = sorted(tar.parent.glob(pattern), key=lambda path: path.stat().st_mtime)
    for path in older[:-4]:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def overlay(lower: Path) -> Iterator[tuple[Path, Path]]:
    """A writable view of LOWER, and the folder that holds what was changed in it."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name:
        upper, work, merged = (Path(name) / part for part in ("upper", "work", "merged"))
        for folder in (upper, work, merged):
            folder.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", "-o", options, "overlay", merged)
        try:
            yield merged, upper
        finally:
            run("umount", merged)


def archive(folder: Path, target: Path) -> None:
    """A tar of what is in FOLDER, owned by root; a removed file cannot be told by one."""
    removed = [
        path
        for path in folder.rglob("*")
        if stat.S_ISCHR(path.lstat().st_mode) and path.lstat().st_rdev == 0
    ]
    if removed:
        raise ImageError(f"script/install removed files of the base image: {removed}")
    draft = target.with_suffix(".draft")
    owner = ("--owner=0", "--group=0", "--numeric-owner")
    # the top folder itself stays as it is in the machine
    run("tar", *owner, "-cf", draft, "-C", folder, *sorted(path.name for path in folder.iterdir()))
    draft.rename(target)
