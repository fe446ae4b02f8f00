"""Runs in the machine: does what the host asks for, over a virtio-serial port.

A message is one line of ASCII JSON. A request has "id", "op" and the operation's arguments; the
answer has the same "id" and "value", or "error". Requests run at the same time, each in a thread.
The first line after a start is {"hello": BOOT_ID}, by which the host sees a reboot.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PORT_NAME = "booted.agent"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
spawned = {}
writing = threading.Lock()


def decode(octets):
    """Bytes as text that survives JSON unchanged."""
    return octets.decode("utf-8", "surrogateescape")


def encode(text):
    """The reverse of decode()."""
    return text.encode("utf-8", "surrogateescape")


def environment(changes):
    """What a root shell has, and CHANGES."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **(changes or {})}


def start(argv, user, env, cwd, **streams):
    """Start a program in a session of its own."""
    return subprocess.Popen(
        argv,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        env=environment(env),
        cwd=cwd or "/",
        start_new_session=True,
        **streams,
    )


def op_run(argv, stdin="", timeout=60, user=None, env=None, cwd=None):
    """Run a program to its end; on timeout the whole session of it is killed."""
    pipe = subprocess.PIPE
    try:
        process = start(argv, user, env, cwd, stdin=pipe, stdout=pipe, stderr=pipe)
    except (FileNotFoundError, PermissionError) as error:
        return {"rc": 127, "stdout": "", "stderr": f"{error}\n", "late": False}
    late = False
    try:
        out, err = process.communicate(encode(stdin), timeout)
    except subprocess.TimeoutExpired:
        late = True
        os.killpg(process.pid, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired as error:
            out, err = error.stdout or b"", error.stderr or b""
    return {"rc": process.returncode, "stdout": decode(out), "stderr": decode(err), "late": late}


def op_spawn(argv, user=None, env=None, cwd=None):
    """Start a program and leave it running; its pid."""
    output = tempfile.TemporaryFile()
    process = start(argv, user, env, cwd, stdin=subprocess.PIPE, stdout=output, stderr=output)
    spawned[process.pid] = (process, output)
    return process.pid


def op_write(pid, text):
    """Write to a spawned program's standard input."""
    stream = spawned[pid][0].stdin
    stream.write(encode(text))
    stream.flush()


def op_output(pid):
    """All a spawned program has printed so far, and its exit status if it has ended."""
    process, output = spawned[pid]
    return {"text": decode(os.pread(output.fileno(), 1 << 24, 0)), "rc": process.poll()}


def op_wait(pid, timeout=60):
    """Wait for a spawned program; None when it is still running."""
    try:
        return spawned[pid][0].wait(timeout)
    except subprocess.TimeoutExpired:
        return None


def op_stop(pid, number=signal.SIGTERM):
    """End a spawned program with its session, and forget it."""
    process, output = spawned.pop(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(pid, signal.SIGKILL)
        process.wait(5)
    text = decode(os.pread(output.fileno(), 1 << 24, 0))
    output.close()
    return {"text": text, "rc": process.returncode}


def op_python(source, args=None):
    """Execute Python here; what it assigns to `result`, as far as JSON carries it."""
    printed = io.StringIO()
    scope = {"args": args or {}, "result": None, "out": printed, "__name__": "snippet"}
    exec(compile(source, "<snippet>", "exec"), scope)
    return scope["result"]


def op_put(path, content, mode=0o644):
    """Write a file, with its folder."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(encode(content))
        os.fchmod(file.fileno(), mode)


def op_get(path):
    """A file's content."""
    with open(path, "rb") as file:
        return decode(file.read())


OPERATIONS = {name[3:]: do for name, do in list(globals().items()) if name.startswith("op_")}


def find_port():
    """The device of the port the host listens on."""
    folder = "/sys/class/virtio-ports"
    while True:
        for device in os.listdir(folder) if os.path.isdir(folder) else ():
            with open(f"{folder}/{device}/name") as name:
                if name.read().strip() == PORT_NAME:
                    return f"/dev/{device}"
        time.sleep(0.05)


def send(port, message):
    """One line, whole."""
    line = json.dumps(message).encode("ascii") + b"\n"
    with writing:
        while line:
            line = line[os.write(port, line) :]


def answer(port, request):
    """Do one request, and say how it went."""
    number = request.pop("id")
    try:
        value = OPERATIONS[request.pop("op")](**request)
        send(port, {"id": number, "value": value})
    except BaseException:
        send(port, {"id": number, "error": traceback.format_exc()})


def main():
    """Serve until the machine stops."""
    port = os.open(find_port(), os.O_RDWR | os.O_CLOEXEC)
    with open("/proc/sys/kernel/random/boot_id") as boot_id:
        hello = boot_id.read().strip()
    # What a message cut off by a reboot left is ended by the empty line.
    os.write(port, b"\n")
    send(port, {"hello": hello})
    held = b""
    while True:
        octets = os.read(port, 1 << 16)
        if not octets:
            time.sleep(0.05)
            continue
        *lines, held = (held + octets).split(b"\n")
        for line in filter(None, lines):
            request = json.loads(line)
            threading.Thread(target=answer, args=(port, request), daemon=True).start()


if __name__ == "__main__":
    main()
