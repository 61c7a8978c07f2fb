"""Pages that rows write into, as equal as they can be made: see `warm.c`."""

import os
import subprocess
from pathlib import Path


class WarmPages:
    """Holds memory between rows and lets go of it while a row takes some. With 0 MiB it does nothing."""

    def __init__(self, binary: Path, mib: int):
        self.process = None
        if mib > 0:
            self.process = subprocess.Popen([str(binary), str(mib)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "WarmPages":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait()

    def renew(self) -> None:
        """Takes what was let go of, and begins to let go of it."""
        for command in ("hold", "give") if self.process else ():
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
            if not self.process.stdout.readline():
                raise SystemExit(f"warm could not {command} memory: exit status {self.process.wait()}")


def forget(directory: Path) -> None:
    """Has the page cache drop all files of a directory, once they are on the device."""
    os.sync()
    # Brokers delete behind the rows: what has gone meanwhile is passed over.
    for path in (Path(folder) / name for folder, _, names in os.walk(directory) for name in names):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
