"""What was rendered for the present configuration, kept so that nothing needs rendering again.

The systemd generator runs at every daemon-reload, with PID 1 waiting for it: this module imports
next to nothing, so that the usual case, an unchanged configuration, costs no more than the copying.
"""

import json
import os

CACHE = "run/byway/generated.json"
_CONFIG = "etc/byway/byway.toml"
_DROP_INS = ("etc/byway/conf.d", "run/byway/conf.d", "usr/lib/byway/conf.d")

Files = tuple[tuple[str, str], ...]


def fingerprint(root: str) -> str:
    """Return what the output depends on: the configuration's files and byway itself, by status."""
    paths = [os.path.join(root, _CONFIG)]
    for directory in _DROP_INS:
        try:
            names = sorted(os.listdir(os.path.join(root, directory)))
        except OSError:
            continue
        paths += [os.path.join(root, directory, name) for name in names]
    return "\n".join(_identify(path) for path in [*paths, __file__])


def recall(root: str, scope: str = "system", *, outdated: bool = False) -> Files | None:
    """Return what was rendered for ``scope`` and what ``fingerprint`` tells now; None if nothing.

    Root's memory serves everybody: a user's generator does not have to render. ``outdated`` takes
    what was rendered last, whatever the configuration is now.
    """
    try:
        with open(os.path.join(root, CACHE), "rb") as file:
            if os.fstat(file.fileno()).st_uid not in (0, os.geteuid()):
                return None
            remembered = json.load(file)
        if not outdated and remembered["key"] != fingerprint(root):
            return None
        return tuple((str(path), str(text)) for path, text in remembered["files"][scope])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def render_memory(key: str, files: dict[str, Files]) -> str:
    """Return the text of the cache; ``files`` are by scope."""
    return json.dumps({"key": key, "files": files})


def write_files(directory: str, files: Files) -> tuple[str, ...]:
    """Write (path, text) pairs below ``directory``, which only the caller writes to.

    Returns the paths. What names a program that is not pinned is left out: systemd would report it
    as an error each time it makes the slice (bpf_foreign_install() in its core/bpf-foreign.c).
    """
    files = tuple((path, text) for path, text in files if _is_pinned(text))
    for path, text in files:
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as output:
            output.write(text)
    return tuple(path for path, _ in files)


def _is_pinned(text: str) -> bool:
    _, _, program = text.partition("\nBPFProgram=sock_create:")
    return not program or os.path.exists(program.rstrip("\n"))


def _identify(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return f"{path} absent"
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
