"""Where the CPU time of a contender goes while a row is measured: perf(1) samples its process, and each sample is put down to
the system call, interrupt or code of its own that it was in, and to the function. Shares times CPU seconds per GiB are what
can be laid beside each other."""

import re
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SAMPLES_PER_SECOND = 997
# Of a row's CPU time, in at least one contender; what is less is summed up.
SHARE_MIN = 0.01
# What a sample is in: the outermost of these that its stack has, except that the network's own work, which the kernel does
# within whatever call has come, counts for itself.
NETWORK = re.compile(r"^net_[rt]x_action$")
SYSTEM_CALL = re.compile(r"^(?:__(?:x64|se|do|arm64)_sys_|ksys_|do_)(\w+)$")
SYSTEM_CALL_ENTRIES = {"do_syscall_64", "x64_sys_call", "invoke_syscall"}
INTERRUPT = re.compile(r"^(?:asm_)?(?:sysvec|exc|common_interrupt)")


@dataclass
class Samples:
    """One contender in one row."""

    cpu_seconds: float = 0  # per GiB
    total: int = 0
    threads: Counter[str] = field(default_factory=Counter)
    # What it was doing, and the function that it was in.
    doings: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)

    def add(self, thread: str, frames: list[tuple[str, bool]]) -> None:
        """Frames are functions, the innermost first, and whether each is the kernel's."""
        self.total += 1
        self.threads[thread] += 1
        function, in_kernel = frames[0] if frames else ("?", False)
        self.functions[f"{function} [kernel]" if in_kernel else function] += 1
        self.doings[doing([name for name, is_kernel in frames if is_kernel]) if in_kernel else "its own code"] += 1


def doing(kernel_frames: list[str]) -> str:
    if any(NETWORK.match(name) for name in kernel_frames):
        return "network, on behalf of the other end"
    # What perf could not name is what a frame pointer led to that was none.
    outermost = [name for name in reversed(kernel_frames) if name != "[unknown]" and not name.startswith("entry_")]
    if outermost and outermost[0] not in SYSTEM_CALL_ENTRIES:
        return "interrupts and faults" if INTERRUPT.match(outermost[0]) else "what the kernel does for it in other threads"
    # Behind the entry comes the call; the compiler may have left out its first function.
    inside = [name for name in outermost if name not in SYSTEM_CALL_ENTRIES]
    call = SYSTEM_CALL.match(inside[0]) if inside else None
    return f"{call.group(1)}()" if call else "around system calls"


def read(script: str) -> Samples:
    """The output of `perf script -F comm,ip,sym,dso`: a line with the thread, a line for each frame, an empty line."""
    samples = Samples()
    for block in re.split(r"\n\s*\n", script.strip()):
        lines = block.splitlines()
        frames = []
        for line in lines[1:]:
            if found := re.match(r"\s*([0-9a-f]+) (.*) \(.*\)$", line):
                # The kernel has the upper half of all addresses.
                frames.append((found[2].split("+0x")[0], int(found[1], 16) >= 1 << 63))
        if lines:
            samples.add(lines[0].strip(), frames)
    return samples


class Profiles:
    """Samples what is measured, and keeps it by row and contender."""

    def __init__(self, work: Path):
        if not shutil.which("perf"):
            raise SystemExit("--profile wants perf(1), Debian's linux-perf")
        self.data = work / "perf.data"
        self.taken: Samples | None = None
        self.kept: dict[tuple[str, str], dict[str, Samples]] = defaultdict(dict)

    @contextmanager
    def taking(self, process_id: int) -> Iterator[None]:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.data.unlink(missing_ok=True)
        record = subprocess.Popen(
            ["perf", "record", "--quiet", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), "-g", "-p", str(process_id), "-o", self.data],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            record.send_signal(signal.SIGINT)
            record.wait()
        script = ["perf", "script", "--no-inline", "-F", "comm,ip,sym,dso", "-i", self.data]
        done = subprocess.run(script, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"perf took no samples of process {process_id}: {done.stderr.strip()}")
        self.taken = read(done.stdout)

    def keep(self, suite: str, row: str, kind: str) -> None:
        """What was taken last is that row's; rows that nothing was taken of are passed over."""
        if self.taken is not None:
            self.kept[suite, row][kind] = self.taken
            self.taken = None

    def write(self, path: Path, head: str) -> None:
        parts = [head]
        for (suite, row), kinds in self.kept.items():
            parts.append(f"\n## {suite}: {row}\n")
            for title, which in (("what it is doing", "doings"), ("thread", "threads"), ("function", "functions")):
                parts += table(title, {kind: (getattr(each, which), each.total, each.cpu_seconds) for kind, each in kinds.items()})
        path.write_text("\n".join(parts))


def table(title: str, kinds: dict[str, tuple[Counter[str], int, float]]) -> list[str]:
    """Milliseconds of CPU per GiB, the most expensive first."""
    spent = {
        kind: {name: count / total * cpu_seconds * 1000 for name, count in counts.items()}
        for kind, (counts, total, cpu_seconds) in kinds.items()
    }
    least = {kind: SHARE_MIN * cpu_seconds * 1000 for kind, (_, _, cpu_seconds) in kinds.items()}
    names = {name for kind, each in spent.items() for name, ms in each.items() if ms >= least[kind]}
    lines = ["", f"| {title} | {' | '.join(kinds)} |", f"| --- |{' ---: |' * len(kinds)}"]
    for name in sorted(names, key=lambda name: -max(each.get(name, 0) for each in spent.values())):
        lines.append(f"| {name.replace('|', ' ')} | {' | '.join(f'{spent[kind].get(name, 0):.0f}' for kind in kinds)} |")
    rest = {kind: sum(ms for name, ms in each.items() if name not in names) for kind, each in spent.items()}
    if any(ms >= 0.5 for ms in rest.values()):
        lines.append(f"| everything else | {' | '.join(f'{rest[kind]:.0f}' for kind in kinds)} |")
    lines.append(f"| *in all* | {' | '.join(f'{sum(each.values()):.0f}' for each in spent.values())} |")
    return lines
