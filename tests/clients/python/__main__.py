"""Drives one client for the tests: `python -m clients.python NAME`, one JSON line in, one out."""

import importlib
import sys

from clients.python.lines import serve

MODULES = {
    "aiokafka": "aiokafka_driver",
    "confluent-kafka": "confluent_driver",
    "kafka-python": "kafka_python_driver",
    "pykafka": "pykafka_driver",
}

serve(importlib.import_module(f"clients.python.{MODULES[sys.argv[1]]}"))
