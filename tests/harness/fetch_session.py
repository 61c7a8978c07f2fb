"""Incremental fetch sessions (KIP-227), one request at a time."""


class FetchSession:
    """Asks for partitions by name at given offsets, as one incremental session."""

    def __init__(self, connection, topic):
        self.connection, self.topic = connection, topic
        self.id, self.epoch = 0, 0

    def ask(self, offsets: dict[int, int], forgotten: list[int] = (), id=None, epoch=None, **how):
        answer = self.connection.call("Fetch", 12, **{
            "max_wait_ms": 0,
            "min_bytes": 0,
            "session_id": self.id if id is None else id,
            "session_epoch": self.epoch if epoch is None else epoch,
            "topics": [{"name": self.topic, "partitions": [
                {"index": index, "fetch_offset": offset} for index, offset in offsets.items()
            ]}] if offsets else [],
            "forgotten": [{"name": self.topic, "partitions": list(forgotten)}] if forgotten else [],
            **how,
        })
        if answer.error == 0:
            self.id = answer.session_id
            self.epoch += 1
        return answer

    def partitions(self, *arguments, **how) -> dict:
        answer = self.ask(*arguments, **how)
        assert answer.error == 0, answer
        return {part.index: part for topic in answer.topics for part in topic.partitions}
