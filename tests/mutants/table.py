"""The planted bugs: which promise each breaks, and the tests (a regular expression of ctest) that
are expected to catch it."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    name: str      # as in proto/base/mutant.h
    promise: str   # what a violation of it is called
    bug: str
    tests: str     # quick ones: a minute at most


MODEL = r'QueueModelTest\..*/[01]$'

MUTANTS = [
    # the store
    Mutant('confirm_before_commit', 'LOST', 'a batch is confirmed before it is written',
           r'CommitLoopTest\.(FailedWrite|GroupIsSynced)'),
    Mutant('sync_skipped', 'LOST', 'the group is written and not synced',
           r'CrashPointsTest\..*/OnlySynced($| )'),
    Mutant('sync_on_timer_only', 'LOST', 'the sync comes with the timer, behind the confirm',
           r'CommitLoopTest\.(OneWhoAsks|BatchesThatWait)'),
    Mutant('write_error_ignored', 'LOST', 'a write that failed counts as written',
           r'DiskFaultTest\.NothingIsLost.*/AppendEio'),
    Mutant('unknown_told_as_refused', 'GHOST-FAIL', 'an unknown outcome is told as a refusal',
           r'CommitLoopTest\.(FailedWrite|WholeGroup)'),
    Mutant('directory_sync_skipped', 'LOST', 'a new name in a directory is not synced',
           r'DataDirSyncTest'),
    Mutant('missing_groups_accepted', 'LOST',
           'a start goes on though confirmed groups are missing',
           r'RocksOpenTest\.LogThatEnds|LogHoleTest\.HoleInWhat'),
    Mutant('checksum_ignored', 'CORRUPT', 'the checksum of a record is not looked at',
           r'RocksOpenTest\.DamagedRow|CommitWatermarkTest\.TornWrite'),
    Mutant('full_disk_ignored', 'DISK', 'bodies are written into the last reserve of the disk',
           r'DiskSpaceTest\.BelowTheReserve'),
    # the queue and its way back from disk
    Mutant('settle_record_skipped', 'RESURRECT', 'a settle in a chunk leaves no row',
           r'QueueRestartTest\.SettledMessages|' + MODEL),
    Mutant('ack_told_before_commit', 'RESURRECT', 'a settle is answered before its commit',
           r'QueueSettleTest\.SettleIsAnswered'),
    Mutant('dedup_in_another_batch', 'DUP-STORE',
           'the idempotency key is written a batch after its message',
           r'QueueDedupTest\.CrashBetween|' + MODEL),
    Mutant('dedup_not_read_back', 'DUP-STORE', 'idempotency keys are forgotten at a restart',
           r'QueueDedupTest\.KeyOfASettledMessage|' + MODEL),
    Mutant('producer_record_skipped', 'DUP-STORE',
           'what a producer has published is forgotten at a restart',
           r'QueueProducerTest\.ResendAfterARestart|' + MODEL),
    Mutant('counters_not_rebuilt', 'BOUND', 'messages on disk are not counted after a restart',
           r'QueueRestartTest|' + MODEL),
    Mutant('attempt_not_written', 'ATTEMPT', 'the number of attempts is not written',
           r'QueueRestartTest\.ChargedAttempts|' + MODEL),
    Mutant('one_attempt_more', 'ATTEMPT', 'one attempt more than max_attempts',
           r'QueueSettleTest\.LastAttempt|' + MODEL),
    Mutant('dead_letter_in_two_batches', 'CONSERVE',
           'an atomic request or dead letter is a removal and, a batch later, a publish',
           r'TwoQueuesTest\.SettleAndPublish|' + MODEL),
    Mutant('bound_off_by_one', 'BOUND', 'one message more than max_messages',
           r'QueuePublishTest\.BoundInMessages|' + MODEL),
    Mutant('delivery_ids_begin_anew', 'STALE-ACK', 'a restart gives delivery ids again',
           r'QueueRestartTest\.SettledMessages|FenceTest\.RisesOver|' + MODEL),
    Mutant('stale_settle_accepted', 'STALE-ACK', 'a settle of a lease that ended is a success',
           r'QueueLeaseTest\.ExpiredLease|QueueSettleTest\.RangeSettles|' + MODEL),
    Mutant('expired_under_a_consumer', 'LEASE', 'the ttl ends a message that is leased',
           r'TtlTest\.AMessageInFlight|' + MODEL),
    Mutant('lease_never_ends', 'STUCK', 'a lease has no end',
           r'QueueLeaseTest\.ExpiredLease|' + MODEL),
    Mutant('extension_forgotten', 'LEASE-OVERLAP', 'an extended lease ends at its first deadline',
           r'QueueLeaseTest\.ExtendedPart|' + MODEL),
    Mutant('lease_on_the_wall_clock', 'LEASE-OVERLAP', 'leases end by the wall clock',
           r'WallClockTest\.AJumpEndsNoLease|' + MODEL),
    Mutant('delivery_costs_no_credit', 'CREDIT', 'a delivery takes no credit',
           r'QueueCreditTest|' + MODEL),
    Mutant('returned_goes_to_the_back', 'ORDER', 'what comes back waits behind what is new',
           r'QueueOrderTest|' + MODEL),
    Mutant('key_free_before_the_settle', 'ORDER',
           'the next of an ordering key goes out while one is in flight',
           r'KeyedTest\.OneOfAKey|' + MODEL),
    Mutant('lost_stream_keeps_its_messages', 'STUCK',
           'deliveries of a stream that broke stay leased',
           r'QueueDetachTest\.DeathCharges|' + MODEL),
    # the streams
    Mutant('publish_credit_lost', 'STUCK', 'results give a publisher no credit back',
           r'^PublishWindowTest\.WhatIsHeldBack'),
    Mutant('select_credit_lost', 'STUCK', 'credit that a queue returned is lost to the others',
           r'SelectSchedulerTest'),
    Mutant('stuck_reader_not_held_back', 'MEMORY',
           'a reader that stands still is sent all that it granted', r'CreditGateTest'),
    # the client library
    Mutant('unconfirmed_not_sent_again', 'LOST', 'what a broken stream left unconfirmed stays so',
           r'^PublishWindowTest\.(AKnown|AResend|AnyHistory)'),
    Mutant('sent_again_to_a_stranger', 'DUP-STORE',
           'messages without a key are sent again to a broker that has forgotten them',
           r'^PublishWindowTest\.AForgotten'),
    Mutant('credit_of_lost_stream_kept', 'STUCK', 'a new stream begins with the old one\'s credit',
           r'CreditControlTest\.ANewStream|ConsumerTest\.ABrokenStreamDrops'),
]
