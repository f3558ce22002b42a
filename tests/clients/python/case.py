"""What the tests share: one daemon for a class, a queue for a test."""
import contextlib
import threading
import time
import unittest

import daemon
import mqd_client as mqd


class BrokerCase(unittest.TestCase):
    """The tests of a class share a daemon, which must outlive them and end well."""

    @classmethod
    def make_daemon(cls):
        return daemon.Daemon()

    @classmethod
    def setUpClass(cls):
        cls.daemon = cls.make_daemon()
        cls.addClassCleanup(cls.daemon.remove)
        cls.daemon.start()
        cls.client = mqd.Client(cls.daemon.address)
        cls.addClassCleanup(cls.client.close)

    @classmethod
    def tearDownClass(cls):
        if not cls.daemon.alive():
            raise AssertionError('the daemon died:\n' + cls.daemon.log())
        cls.client.close()  # or its idle connection is waited for
        code = cls.daemon.stop()
        if code != 0:
            raise AssertionError(f'the daemon ended with {code}:\n{cls.daemon.log()}')

    def tearDown(self):
        if not self.daemon.alive():
            self.fail('the daemon died:\n' + self.daemon.log())

    def queue(self, suffix='', **settings):
        """A queue named after the test."""
        name = self.id().rsplit('.', 1)[-1].removeprefix('test_')[:100] + suffix
        self.client.create_queue(name, **settings)
        return name

    def publisher(self, name, **options):
        return self.enterContext(self.client.publisher(name, **options))

    def consumer(self, *queues, **options):
        return self.enterContext(self.client.consumer(*queues, **options))

    def publish(self, name, *payloads):
        """Stores messages and returns their sequences."""
        results = self.client.publish(name, *map(mqd.message, payloads))
        self.assertEqual({each.kind for each in results}, {'published'}, results)
        return [each.sequence for each in results]

    def receive(self, name, count=1, wait=20):
        """Takes `count` deliveries with the unary call."""
        out = []
        while len(out) < count:
            deliveries, _ = self.client.receive(name, min(count - len(out), 1024), wait)
            self.assertTrue(deliveries, f'{len(out)} of {count} deliveries in {wait} s')
            out += deliveries
        return out

    @contextlib.contextmanager
    def refused(self, reason, resource=None):
        """The block must raise an MqdError with this reason, which says something for a person."""
        with self.assertRaises(mqd.MqdError) as caught:
            yield caught
        self.check_info(caught.exception.info, reason, resource, str(caught.exception))

    def check_info(self, info, reason, resource=None, text=''):
        self.assertEqual(mqd.reason_name(info), reason, f'{info}{text}')
        self.assertTrue(info.message, 'an error says what is wrong')
        if resource is not None:
            self.assertIn(resource, info.resource)

    def check_error(self, result, reason):
        """A message's result is this error."""
        self.assertEqual(result.kind, 'error', result)
        self.check_info(result.error, reason)
        return result.error

    def check_stale(self, reply, *ids):
        """Exactly these deliveries were refused, as stale."""
        stale = []
        for each in reply.exceptions:
            self.check_info(each.error, 'STALE_DELIVERY')
            stale += range(each.range.first_delivery_id, each.range.last_delivery_id + 1)
        self.assertEqual(stale, list(ids))

    def check_stats(self, name, **wanted):
        stats = self.client.stats(name)
        self.assertEqual({key: getattr(stats, key) for key in wanted}, wanted)
        return stats

    def eventually(self, predicate, what, wait=30):
        """Asks again until it is so."""
        end = time.monotonic() + wait
        pause = threading.Event()
        while not predicate():
            self.assertLess(time.monotonic(), end, f'not within {wait} s: {what}')
            pause.wait(0.02)
