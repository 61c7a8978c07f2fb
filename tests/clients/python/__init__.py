"""Drivers of the clients that are written in Python; `lines` has the protocol, harness/drivers.py the other end."""
