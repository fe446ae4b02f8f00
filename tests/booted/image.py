"""Builds a test machine's image: root folder, disk, kernel, initrd. `python -m booted.image 13`.

Cached outside the checkout, under a name made of what went into it; nothing in the cache is changed
afterwards, so it may be removed at any time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from booted import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
RECIPE = HERE / "recipe"
CODENAMES = {"12": "bookworm", "13": "trixie"}
INGREDIENTS = (
    HERE / "image.py",
    HERE / "kernel.py",
    CHECKOUT / "script" / "lib.sh",
    CHECKOUT / "requirements.lock",
    CHECKOUT / "requirements-build.lock",
)


class ImageError(Exception):
    """An image could not be built."""


@dataclass(frozen=True)
class Image:
    """What a machine boots from. All of it is read only."""

    release: str
    folder: Path

    @property
    def root(self) -> Path:
        """The root file system as a folder: what byway is installed over."""
        return self.folder / "root"

    @property
    def disk(self) -> Path:
        """The same as an ext4 image."""
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        """The uncompressed ELF kernel."""
        return self.folder / "vmlinux"

    @property
    def initrd(self) -> Path:
        """A small initrd that unpacks the run's files over the disk."""
        return self.folder / "initrd"


def cache_folder() -> Path:
    """Where images and installed trees are kept."""
    return Path(os.environ.get("BYWAY_CACHE", "/var/cache/byway-test"))


def tree_hash(*paths: Path) -> str:
    """A hash of names, modes and content of files and folders."""
    digest = hashlib.sha256()
    for top in paths:
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in files:
            name = path.relative_to(top.parent)
            if "__pycache__" in name.parts:
                continue
            digest.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def image_for(release: str) -> Image:
    """The image of a Debian release, built now if it is not there."""
    key = tree_hash(RECIPE, *INGREDIENTS)
    image = Image(release, cache_folder() / f"debian{release}-{key}")
    with locked(cache_folder() / f"debian{release}.lock"):
        if not image.folder.is_dir():
            build(image)
    return image


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file: two sessions build one image after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(image: Image) -> None:
    """Build into a folder beside, and give it its name when it is complete."""
    started = time.monotonic()
    report(f"building the Debian {image.release} machine (once, about a minute)")
    for old in image.folder.parent.glob(f"debian{image.release}-*"):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    draft = Image(image.release, image.folder.with_name(f"draft{image.release}"))
    remove(draft.folder)
    draft.folder.mkdir(parents=True)
    bootstrap(draft)
    run(CHECKOUT / "script" / "install", "--destdir", draft.root, "--only-dependencies")
    configure(draft)
    version = kernel.version_in(draft.root)
    draft.kernel.write_bytes(
        kernel.uncompressed((draft.root / "boot" / f"vmlinuz-{version}").read_bytes())
    )
    kernel.write_initrd(draft.root, version, RECIPE / "init", draft.initrd)
    slim(draft.root)
    make_disk(draft)
    draft.folder.rename(image.folder)
    report(f"built {image.folder} in {time.monotonic() - started:.0f} s")


def remove(draft: Path) -> None:
    """Remove what a build that was cut off has left, without going into what is mounted in it."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in mounts]
    for point in reversed(points):
        if draft in point.parents:
            run("umount", point)
    if draft.exists():
        shutil.rmtree(draft)


def bootstrap(image: Image) -> None:
    """Unpack and configure Debian's packages, from the mirror this machine itself uses."""
    mirror, *keyring = run(CHECKOUT / "script" / "mirror").split()
    packages = [
        line
        for name in ("packages", f"packages-{image.release}")
        if (RECIPE / name).exists()
        for line in (RECIPE / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    run(
        # what it mounts in the root goes with it, however it ends
        *("unshare", "--mount", "--propagation", "private"),
        "mmdebstrap",
        "--variant=minbase",
        "--format=directory",
        # kept for script/install; slim() removes them
        "--skip=cleanup/apt/lists",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "3"',
        *(f"--keyring={path}" for path in keyring),
        "--include=" + ",".join(packages),
        CODENAMES[image.release],
        image.root,
        f"deb {mirror} {CODENAMES[image.release]} main",
        # the initrd is ours
        environment={"INITRD": "No"},
    )


def configure(image: Image) -> None:
    """Copy the recipe's files and run its last step inside."""
    # systemd-resolved makes it a link, and what is copied onto a link lands where it leads to.
    (image.root / "etc/resolv.conf").unlink(missing_ok=True)
    shutil.copytree(RECIPE / "root", image.root, dirs_exist_ok=True)
    for parent in (RECIPE / "root").rglob("*"):
        os.chown(image.root / parent.relative_to(RECIPE / "root"), 0, 0)
    script = image.root / "configure"
    shutil.copy(RECIPE / "configure", script)
    run("chroot", image.root, "/configure")
    script.unlink()


def slim(root: Path) -> None:
    """Remove what a machine that lives for a minute never reads."""
    for pattern in (
        "var/lib/apt/lists/*",
        "var/cache/apt/*",
        "boot/*",
        "var/log/*.log",
        "var/log/apt",
    ):
        for path in root.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def make_disk(image: Image) -> None:
    """An ext4 image with room to work in; the holes cost nothing."""
    with image.disk.open("wb") as disk:
        disk.truncate(2 << 30)
    features = "^has_journal,^metadata_csum,^resize_inode"
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", features, "-d", image.root, image.disk)


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a tool; its output, or an error with all it said."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=os.environ | (environment or {}),
    )
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise ImageError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def report(line: str) -> None:
    """Say what takes long."""
    sys.stderr.write(f"booted: {line}\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["13"]:
        if wanted not in CODENAMES:
            sys.exit(f"booted.image: no machine {wanted!r} (there are {', '.join(CODENAMES)})")
        image_for(wanted)
