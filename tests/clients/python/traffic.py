"""Somebody else's traffic, while a test does harm."""
import threading
import time

import mqd_client as mqd


class Traffic(threading.Thread):
    """A publisher and a consumer that must not notice anything."""

    def __init__(self, client, name, on_round=lambda begin, end: None):
        super().__init__(daemon=True)
        self._on_round = on_round
        self.rounds = 0
        self.failure = None
        self.changed = threading.Condition()
        self._stopping = False
        self._publisher = client.publisher(name)
        self._consumer = client.consumer(name)

    def run(self):
        try:
            with self._publisher, self._consumer:
                while not self._stopping:
                    begin = time.monotonic()
                    self._round()
                    self._on_round(begin, time.monotonic())
        except Exception as error:  # whatever it is, the test that reads it fails
            with self.changed:
                self.failure = error
                self.changed.notify_all()

    def _round(self):
        self._publisher.publish_all(*[mqd.message(b'x' * 100)] * 20)
        self._consumer.grant(20)
        got = self._consumer.take(20)
        if self._consumer.settle(got, mqd.ack()).settled != 20:
            raise AssertionError('a settle of the other stream went wrong')
        with self.changed:
            self.rounds += 1
            self.changed.notify_all()

    def check_goes_on(self):
        """Two more rounds without an error."""
        with self.changed:
            wanted = self.rounds + 2
            self.changed.wait_for(lambda: self.failure or self.rounds >= wanted, 30)
            if self.failure is not None or self.rounds < wanted:
                raise AssertionError(f'the other streams noticed: {self.failure}')

    def stop(self):
        self._stopping = True
        self.join(30)
