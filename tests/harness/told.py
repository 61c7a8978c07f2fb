"""What a broker says of itself when it is sent SIGUSR1."""

import os
import re
import signal
import time

TOLD_SECONDS_MAX = 60


def told_by(broker, times: int, shards: int = 2) -> list[str]:
    """What it says when it is asked, for that many times in its life."""
    os.kill(broker.process.pid, signal.SIGUSR1)
    deadline = time.monotonic() + TOLD_SECONDS_MAX
    # The last line of each shard, but for tasks that held it.
    while (text := broker.log_path.read_text()).count("moved_away") < shards * times and time.monotonic() < deadline:
        time.sleep(0.02)
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


def connections_moved(broker, times: int = 1, shards: int = 2) -> int:
    """Connections that one of its shards has given to another so far; asked for that many times in its life."""
    told = [line for line in told_by(broker, times, shards) if "moved_away" in line][-shards:]
    return sum(int(re.search(r"moved_away=(\d+)", line)[1]) for line in told)
