"""A process that publishes and consumes, round after round, and keeps a message of each round in
the queue `kept`. It prints one line a round, and why it ended: witness_process.py ADDRESS FIRST
"""
import sys

import mqd_client as mqd
from traffic import Traffic


def main(address, first):
    client = mqd.Client(address)
    keeper = client.publisher('kept')
    number = first

    def keep(begin, end):
        nonlocal number
        result, = keeper.publish_all(mqd.message(b'%d' % number))
        if result.kind != 'published':
            raise AssertionError(f'message {number} was not kept: {result}')
        print('round', begin, end, number, flush=True)
        number += 1

    traffic = Traffic(client, 'witness', keep)
    traffic.start()
    traffic.join()
    print('failure', repr(traffic.failure), flush=True)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
