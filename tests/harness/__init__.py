"""What the tests stand on: brokers as processes, clients behind one interface, records, and the bare protocol."""
