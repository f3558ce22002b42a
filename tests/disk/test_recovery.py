"""The way back: a million ready messages, a kill, and serving again with little memory."""
import time
import unittest

import case
import daemon
import feed
import figures
import mqd_client as mqd

MIB = 1 << 20
COUNT = 1_000_000
RESIDENT_MAX = 400 * MIB


class RecoveryTest(case.BrokerCase):
    def test_million_ready_messages_are_served_again_in_little_memory(self):
        name = self.queue(max_messages=mqd.limit(COUNT))
        begin = time.monotonic()
        self.assertEqual(feed.Feed(self.client, name, b'x' * 100).run(COUNT // feed.BATCH), COUNT)
        published = time.monotonic() - begin
        before = self.daemon.resident_bytes()
        last = self.client.peek(name)[0].sequence + COUNT - 1
        self.client.close()
        self.daemon.kill()
        seconds = self.daemon.start()
        type(self).client = mqd.Client(self.daemon.address)
        after = self.daemon.resident_bytes()
        print(f'{COUNT} messages published in {published:.1f} s; serving again {seconds:.2f} s '
              f'after the start; RSS {before / MIB:.0f} MiB before, {after / MIB:.0f} MiB after')
        figures.add('R13', trials=1, confirmed=COUNT, note=f'serving after {seconds:.2f} s',
                    violations=int(seconds >= daemon.WAIT_S or after >= RESIDENT_MAX))
        self.assertLess(after, RESIDENT_MAX)
        self.assertLess(seconds, daemon.WAIT_S)
        self.check_stats(name, ready=COUNT, backlog_bytes=COUNT * 164)
        self.assertEqual(self.client.peek(name, from_sequence=last)[0].sequence, last)
        self.check_error(self.client.publish(name, mqd.message(b'y'))[0], 'QUEUE_FULL')
        drink = feed.Drink(self.client, name)
        begin = time.monotonic()
        drink.run(COUNT)
        self.assertEqual((drink.delivered, drink.acked), (COUNT, COUNT))
        print(f'drained in {time.monotonic() - begin:.1f} s; '
              f'RSS {self.daemon.resident_bytes() / MIB:.0f} MiB')
        self.assertLess(self.daemon.resident_bytes(), RESIDENT_MAX)
        self.check_stats(name, ready=0, in_flight=0, backlog_bytes=0, acked_total=COUNT)


if __name__ == '__main__':
    unittest.main()
