"""Takes what a fast boot needs out of Debian's kernel package: the ELF kernel and a tiny initrd."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

# In the order of loading, each after what it depends on; those built in are left out.
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")


def version_in(root: Path) -> str:
    """The version of the one kernel installed in ROOT."""
    (modules,) = (root / "usr" / "lib" / "modules").iterdir()
    return modules.name


def uncompressed(bzimage: bytes) -> bytes:
    """The ELF kernel inside a bzImage (Documentation/arch/x86/boot.rst: payload_offset).

    Started directly (PVH) it saves the seconds that unpacking takes under emulation.
    """
    setup_sectors = bzimage[0x1F1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # the last four bytes are the size of the result
    payload = bzimage[start : start + length - 4]
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.decompress(payload)
    # the cloud kernels: 6.1 is LZ4's legacy format, 6.12 Zstandard
    unpack = ["lz4" if payload.startswith(b"\x02\x21\x4c\x18") else "zstd", "-dcq"]
    return subprocess.run(unpack, input=payload, check=True, capture_output=True).stdout


def write_initrd(root: Path, version: str, init: Path, target: Path) -> None:
    """An initrd of busybox, the modules the disk needs, and INIT."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
            (tree / folder).mkdir()
        shutil.copy(root / "usr" / "bin" / "busybox", tree / "bin" / "busybox")
        (tree / "bin" / "sh").symlink_to("busybox")
        shutil.copy(init, tree / "init")
        order = []
        for module in modules_needed(root / "usr" / "lib" / "modules" / version):
            (tree / "modules" / module.name.removesuffix(".xz")).write_bytes(module_content(module))
            order.append(module.name.removesuffix(".xz"))
        (tree / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
        pack = "find . | cpio --quiet -o -H newc"
        with target.open("wb") as archive:
            subprocess.run(["/bin/sh", "-c", pack], cwd=tree, stdout=archive, check=True)


def modules_needed(folder: Path) -> list[Path]:
    """The files of MODULES and of what they depend on, dependencies first."""
    depends = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        depends[Path(file).name.partition(".")[0]] = [file, *others.split()]
    ordered: dict[Path, None] = {}
    for module in MODULES:
        # modules.dep names what has to be loaded first last
        for file in reversed(depends.get(module, [])):
            ordered[folder / file] = None
    return list(ordered)


def module_content(path: Path) -> bytes:
    """A module, uncompressed: busybox loads nothing else."""
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
