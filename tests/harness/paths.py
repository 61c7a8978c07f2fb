"""Where things are: the repository, and the one folder that tests may fill."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
REPOSITORY = TESTS.parent
WORK = TESTS / ".work"
KAFKA = TESTS / "kafka"
