"""Space: what is gone takes no disk, whatever is still held."""
import time
import unittest

import case
import feed
import mqd_client as mqd

MIB = 1 << 20
PAYLOAD = b'x' * 100
PASSING = 2_000_000
SPREAD = 200_000
HOUR = 3600


class SpaceTest(case.BrokerCase):
    def check_disk(self, name):
        """At most three times the live data and 256 MiB, once compactions are done."""
        allowed = 3 * self.client.stats(name).backlog_bytes + 256 * MIB
        self.eventually(lambda: feed.disk_bytes(self.daemon.data) <= allowed,
                        f'at most {allowed / MIB:.0f} MiB of disk', 60)

    def test_one_held_message_keeps_no_more_than_itself(self):
        name = self.queue(lease_duration=mqd.seconds(HOUR))
        self.publish(name, b'old', *[PAYLOAD] * 999)
        old, = self.receive(name)
        self.assertEqual(self.client.settle(name, self.receive(name, 999), mqd.ack()).settled, 999)
        begin = time.monotonic()
        feed.pass_through(self.client, name, PAYLOAD, PASSING)
        elapsed = time.monotonic() - begin
        at_once = feed.disk_bytes(self.daemon.data)
        self.check_stats(name, ready=0, in_flight=1, backlog_bytes=3 + 64)
        self.check_disk(name)
        print(f'{PASSING} messages passed in {elapsed:.1f} s ({PASSING / elapsed:,.0f}/s); disk '
              f'{at_once / MIB:.0f} MiB at once, then '
              f'{feed.disk_bytes(self.daemon.data) / MIB:.0f} MiB; '
              f'RSS {self.daemon.resident_bytes() / MIB:.0f} MiB')
        self.assertEqual(self.client.settle(name, [old], mqd.ack()).settled, 1)

    def test_survivors_spread_over_the_traffic_keep_no_more_than_themselves(self):
        name = self.queue(lease_duration=mqd.seconds(HOUR))
        held = []
        for _ in range(SPREAD // 10_000):
            feed.Feed(self.client, name, b'y' * 1000).run(10)
            got = [each for _ in range(10) for each in self.receive(name, 1000)]
            held.append(got[5000])
            rest = got[:5000] + got[5001:]
            self.assertEqual(self.client.settle(name, rest, mqd.ack()).settled, len(rest))
        self.check_stats(name, ready=0, in_flight=len(held))
        self.check_disk(name)
        print(f'{len(held)} survivors: disk {feed.disk_bytes(self.daemon.data) / MIB:.0f} MiB')
        self.client.settle(name, held, mqd.release())
        again = self.receive(name, len(held))
        self.assertEqual([each.sequence for each in again], [each.sequence for each in held])


if __name__ == '__main__':
    unittest.main()
