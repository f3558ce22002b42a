"""A peer that says nothing any more: pings find out."""
import queue
import unittest

import grpc
from mqd.v1 import broker_pb2

import case
import mqd_client as mqd

# A ping every 10 s, 20 s for its answer, and what a busy machine needs.
DEATH_S = 60


class SilenceTest(case.BrokerCase):
    def test_consumer_that_answers_no_ping_is_dead_and_its_deliveries_are_released(self):
        name = self.queue(lease_duration=mqd.seconds(3600))
        self.publish(name, b'x')
        outgoing = queue.SimpleQueue()
        outgoing.put(broker_pb2.ConsumeStreamRequest(open=broker_pb2.ConsumeOpen(
            queues=[broker_pb2.SelectQueue(queue=name)])))
        outgoing.put(broker_pb2.ConsumeStreamRequest(
            credit=broker_pb2.Credit(messages=1, bytes=1)))
        call = self.client.broker.ConsumeStream(iter(outgoing.get, None), timeout=DEATH_S)
        living = self.consumer(name)
        kinds = []
        with self.assertRaises(grpc.RpcError) as caught:
            for reply in call:
                kinds.append(reply.WhichOneof('frame'))
        outgoing.put(None)
        self.assertEqual(kinds, ['opened', 'deliveries', 'ping'])
        self.assertNotEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        living.grant(1)
        self.assertEqual(living.take(1)[0].attempt, 2)
        self.check_stats(name, consumers=1, in_flight=1)

    def test_stream_that_never_opens_is_ended(self):
        idle = queue.SimpleQueue()
        calls = [method(iter(idle.get, None), timeout=DEATH_S) for method in (
            self.client.broker.PublishStream, self.client.broker.ConsumeStream)]
        for call in calls:
            with self.assertRaises(grpc.RpcError) as caught:
                list(call)
            idle.put(None)
            self.assertNotEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


if __name__ == '__main__':
    unittest.main()
