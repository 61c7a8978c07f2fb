"""Machines that lack what a broker needs, as one process sees them: system calls that fail, an old kernel, a small disk.

`without_io_uring` and `old_kernel` are for a child between fork and exec (`preexec_fn`); nothing of this process changes.
"""

import ctypes
import errno
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h, linux/personality.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
UNAME26 = 0x0020000
# The same on every architecture: system calls have had common numbers since before io_uring.
SYS_IO_URING_SETUP = 425


def _filter(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def without_io_uring(error: int):
    """For a child whose io_uring_setup fails: ENOSYS as in a kernel built without it, EPERM as where it is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = b"".join([
        _filter(LOAD_WORD, 0),  # the number of the system call
        _filter(JUMP_IF_EQUAL, SYS_IO_URING_SETUP, 0, 1),
        _filter(RETURN, SECCOMP_RET_ERRNO | error),
        _filter(RETURN, SECCOMP_RET_ALLOW),
    ])
    program = _Program(len(instructions) // 8, instructions)

    def forbid():
        for call in (
            (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
        ):
            if libc.prctl(call[0], *map(ctypes.c_ulong, call[1:])) != 0:
                raise OSError(ctypes.get_errno(), "prctl")

    return forbid


def old_kernel():
    """For a child to which uname(2) names a kernel 2.6."""
    if ctypes.CDLL(None, use_errno=True).personality(ctypes.c_ulong(UNAME26)) == -1:
        raise OSError(ctypes.get_errno(), "personality")


def own_mounts() -> list[str]:
    """What to put before a command so that it can mount what no one else sees. Skips the test where that is not allowed."""
    reasons = []
    for options in (["--mount"], ["--map-root-user", "--mount"]):
        command = ["unshare", *options, "--propagation", "private"]
        if shutil.which("unshare") is None:
            pytest.skip("there is no unshare(1) here to make a mount namespace with")
        tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
        if tried.returncode == 0:
            return command
        reasons.append(tried.stderr.strip())
    pytest.skip(f"a mount namespace cannot be made here: {'; '.join(reasons)}")


class SmallDisk:
    """A file system in memory of a given size, in a mount namespace of its own, which lives as long as this object.

    `inside` goes before a command that is to see it; `outside` is how this process gets at the same files.
    """

    def __init__(self, mount_point: Path, size_bytes: int):
        mount_point.mkdir(parents=True)
        self.mount_point = mount_point
        self.filled = mount_point / "ballast"
        script = 'mount -t tmpfs -o size="$1",mode=0755 none "$2" && echo mounted && exec sleep infinity'
        self.holder = subprocess.Popen(
            [*own_mounts(), "sh", "-c", script, "sh", str(size_bytes), str(mount_point)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )
        assert self.holder.stdout.readline() == "mounted\n", "the small disk was not mounted"
        user = os.readlink("/proc/self/ns/user") != os.readlink(f"/proc/{self.holder.pid}/ns/user")
        self.inside = [
            "nsenter", "--target", str(self.holder.pid), "--mount",
            *(["--user", "--preserve-credentials"] if user else []), "--wd=/", "--",
        ]

    def outside(self, path: Path) -> Path:
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def fill(self, spare_bytes: int = 0) -> None:
        """Takes all room but `spare_bytes`."""
        path = self.outside(self.filled)
        with open(path, "ab") as ballast:
            block = b"\0" * (1 << 16)
            while block:
                try:
                    os.write(ballast.fileno(), block)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    block = block[: len(block) // 2]
        os.truncate(path, max(0, path.stat().st_size - spare_bytes))

    def free(self) -> None:
        """Gives the room back that `fill` took."""
        self.outside(self.filled).unlink(missing_ok=True)

    def room(self) -> int:
        facts = os.statvfs(self.outside(self.mount_point))
        return facts.f_bavail * facts.f_frsize

    def unmount(self) -> None:
        """The namespace goes with its last process, and the disk with the namespace."""
        self.holder.kill()
        self.holder.wait()
