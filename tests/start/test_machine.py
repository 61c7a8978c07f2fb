"""`corelane start` on a machine that lacks something: each lack is named, with what mends it, before anything is made."""

import errno
import subprocess

import pytest

from harness.broker import Corelane, free_port
from harness.machine import old_kernel, own_mounts, without_io_uring

ENDS_SECONDS_MAX = 60


def refused(directory, *, before=(), **how) -> str:
    """What a start that must fail says."""
    ended = subprocess.run(
        [
            *before, Corelane.binary, "start", "--cores", "1", "--override",
            f"listeners=PLAINTEXT://127.0.0.1:{free_port()}", "--override", f"log.dirs={directory}",
        ],
        capture_output=True, text=True, timeout=ENDS_SECONDS_MAX, **how,
    )
    assert ended.returncode == 1, (ended.returncode, ended.stderr)
    assert "ready" not in ended.stdout and "panicked" not in ended.stderr
    assert not directory.exists(), "something was made before the machine was looked at"
    return ended.stderr


def test_a_kernel_built_without_io_uring(tmp_path):
    said = refused(tmp_path / "data", preexec_fn=without_io_uring(errno.ENOSYS))
    assert "io_uring cannot be used" in said
    assert "CONFIG_IO_URING" in said


def test_io_uring_forbidden_by_a_filter_of_system_calls(tmp_path):
    """As container runtimes do by default."""
    said = refused(tmp_path / "data", preexec_fn=without_io_uring(errno.EPERM))
    assert "io_uring cannot be used" in said
    assert "io_uring_setup" in said and "seccomp" in said


@pytest.mark.parametrize("disabled", ["1", "2"])
def test_io_uring_switched_off_by_sysctl(tmp_path, disabled):
    """The switch is the whole machine's, so it is not turned: a file that says so lies over it, and the call fails."""
    setting = "/proc/sys/kernel/io_uring_disabled"
    (tmp_path / "setting").write_text(f"{disabled}\n")
    script = f'mount --bind "$1" {setting} && shift && exec "$@"'
    before = [*own_mounts(), "sh", "-c", script, "sh", str(tmp_path / "setting")]
    said = refused(tmp_path / "data", before=before, preexec_fn=without_io_uring(errno.EPERM))
    assert "io_uring cannot be used" in said
    assert "sysctl kernel.io_uring_disabled=0" in said
    assert ("kernel.io_uring_group" in said) == (disabled == "1")


def test_a_kernel_too_old(tmp_path):
    said = refused(tmp_path / "data", preexec_fn=old_kernel)
    assert "the kernel is 2.6" in said and "6.1 is the oldest" in said
    assert "newer kernel" in said


def test_everything_that_is_missing_is_named_at_once(tmp_path):
    forbid = without_io_uring(errno.ENOSYS)
    said = refused(tmp_path / "data", preexec_fn=lambda: (old_kernel(), forbid()))
    assert "the kernel is 2.6" in said and "CONFIG_IO_URING" in said
