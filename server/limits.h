#pragma once

// limits.h: every maximum and minimum that the broker holds others to, with its unit and its
// reason.
//
// Beyond a limit the broker refuses, with the limit and the value in ErrorInfo; it never clamps in
// silence. Clients read those that concern them from the handshake (mqd.v1.Limits). A setting that
// may be changed has a ...Default and a hard ...Max here; the configured value lies between. Bounds
// that keep two limits apart from each other are asserted below.
//
// Threads: constants.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace mqd::limits {

inline constexpr std::uint64_t kKiB = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// ---- one message --------------------

/// Bytes of a payload, unless [grpc] max_payload_bytes says otherwise: larger things belong in an
/// object store, with their address in the message.
inline constexpr std::uint64_t kPayloadBytesDefault = 1 * kMiB;
/// Bytes; a message is held in memory whole, on both sides, several times over while it travels.
inline constexpr std::uint64_t kPayloadBytesMax = 16 * kMiB;

/// Entries; headers are for routing and tracing, and are walked for each message.
inline constexpr std::uint32_t kHeadersMax = 64;
/// Bytes of all header keys and values together; as much as HTTP servers commonly take.
inline constexpr std::uint32_t kHeaderBytesMax = 8 * kKiB;

/// Bytes of an idempotency_key or ordering_key: a UUID, a hash or a path fits. A key that is set
/// has at least one byte.
inline constexpr std::uint32_t kKeyBytesMax = 128;

/// 0 to 9; every level is a list in each queue.
inline constexpr std::uint32_t kPriorityMax = 9;
/// A waiting message rises above all priorities after this long: low ones are never starved.
inline constexpr std::chrono::milliseconds kPriorityAgeingFloor = std::chrono::seconds(30);

/// Of delay, deliver_at, a retry: a queue is not a calendar, and a delayed message holds its slot.
inline constexpr std::chrono::milliseconds kDelayMax = std::chrono::hours(24 * 30);
/// A message's time to live; a year, beyond which it is a mistake of unit.
inline constexpr std::chrono::milliseconds kTtlMax = std::chrono::hours(24 * 366);

/// References in deliver_after; each is looked up before the message is taken.
inline constexpr std::uint32_t kDeliverAfterMax = 16;

/// Messages of one ordering_key that a consumer may have; one that comes back takes all behind it.
inline constexpr std::uint32_t kInFlightPerKeyMax = 1'024;

/// Bytes counted for a message beside payload, headers and keys: what the broker spends on one.
inline constexpr std::uint32_t kMessageOverheadBytes = 64;

/// Bytes of the largest message as it counts against a queue's max_bytes.
inline constexpr std::uint64_t kMessageCountedBytesMax =
    kPayloadBytesMax + kHeaderBytesMax + std::uint64_t{2} * kKeyBytesMax + kMessageOverheadBytes;

// ---- one frame or unary call --------------------

/// Messages of one publish frame or unary Publish: enough to spread one fsync thin.
inline constexpr std::uint32_t kBatchMessagesMax = 1024;
/// Bytes, counted as above, of such a batch. One message above this travels alone.
inline constexpr std::uint64_t kBatchBytesMax = 4 * kMiB;

/// Bytes of any gRPC message that the broker takes: the largest message, and a batch's control
/// fields around it.
inline constexpr std::uint64_t kFrameBytesMax = 17 * kMiB + 64 * kKiB;

/// Entries of one settle; a range is one entry.
inline constexpr std::uint32_t kSettleEntriesMax = 1024;
/// Exceptions told about one settle; further ones are joined into ranges or left to a smaller
/// settle.
inline constexpr std::uint32_t kSettleExceptionsMax = 1024;
/// Messages published by one atomic settle, in all its queues: they commit in one batch with it.
inline constexpr std::uint32_t kSettlePublishesMax = 256;
/// Ranges in one Started frame; as many as a settle.
inline constexpr std::uint32_t kStartedRangesMax = kSettleEntriesMax;

/// Bytes of a retry's error or a dead letter's reason: a line or two for a person. Kept with the
/// message.
inline constexpr std::uint32_t kReasonBytesMax = 1 * kKiB;

/// How long a unary Receive may wait for its first message; longer waits are for ConsumeStream.
inline constexpr std::chrono::milliseconds kReceiveWaitMax = std::chrono::seconds(60);
/// How long a publish may wait for room (overflow_policy BLOCK) when it names a time.
inline constexpr std::chrono::milliseconds kPublishTimeoutMax = std::chrono::hours(1);

/// Entries of one page of a list; and what a request without a page size gets.
inline constexpr std::uint32_t kPageSizeMax = 1000;
inline constexpr std::uint32_t kPageSizeDefault = 100;
/// Messages of one peek: each is read from the store with its payload.
inline constexpr std::uint32_t kPeekMessagesMax = 100;
inline constexpr std::uint32_t kPeekMessagesDefault = 10;
/// Bytes of one peek's messages; it ends with the message that passes this.
inline constexpr std::uint64_t kPeekBytesMax = 4 * kMiB;

// ---- streams and connections --------------------

/// What one publish stream may have unconfirmed: messages, and bytes counted as above. A full group
/// commit of one stream, several times over; the broker's memory for unconfirmed messages is this
/// times the streams.
inline constexpr std::uint32_t kPublishWindowMessages = 8192;
inline constexpr std::uint64_t kPublishWindowBytes = 4 * kMiB;

/// Balance of credit that one consume stream may hold. A grant that passes it ends the stream with
/// CREDIT_EXCEEDED.
inline constexpr std::uint64_t kCreditMessagesMax = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kCreditBytesMax = 1 * kGiB;

/// Queues of one consume stream; they share its credit and each is asked in turn.
inline constexpr std::uint32_t kSelectQueuesMax = 64;
/// Weight of one of them; 0 is taken as 1.
inline constexpr std::uint32_t kSelectWeightMax = 1000;

/// Bytes waiting to be written to one consume stream, of which gRPC has one frame: what a slow
/// reader can hold.
inline constexpr std::uint64_t kOutboxBytesMax = 4 * kMiB;
/// Bytes of one frame of deliveries, except that a single larger message is sent alone.
inline constexpr std::uint64_t kDeliveriesFrameBytes = 256 * kKiB;

/// Settles of one consume stream that wait for their commit; the stream is not read further until
/// one completes.
inline constexpr std::uint32_t kSettlesPendingMax = 256;

/// Each side pings this often, and takes the other for dead when a pong is later than the timeout.
inline constexpr std::chrono::milliseconds kPingInterval = std::chrono::seconds(10);
inline constexpr std::chrono::milliseconds kPingTimeout = std::chrono::seconds(20);

/// A stream that has not sent its open frame by then is ended: it holds a slot and says nothing.
inline constexpr std::chrono::milliseconds kOpenTimeout = std::chrono::seconds(10);
/// A consumer's drain; and what a Drain frame without a deadline gets.
inline constexpr std::chrono::milliseconds kDrainMax = std::chrono::hours(1);
inline constexpr std::chrono::milliseconds kDrainDefault = std::chrono::seconds(30);

/// HTTP/2 streams of one connection; a client that wants more opens a second connection.
inline constexpr std::uint32_t kStreamsPerConnectionMax = 1024;
/// Streams of the whole broker, publish and consume: sessions cost memory before they carry
/// anything.
inline constexpr std::uint32_t kStreamsMax = 10'000;
/// Bytes of request metadata; credentials fit several times.
inline constexpr std::uint32_t kMetadataBytesMax = 16 * kKiB;

/// Bytes of client_name, which shows in stats, logs and errors.
inline constexpr std::uint32_t kClientNameBytesMax = 128;
/// Bytes of a producer_id that is set, exactly: 128 random bits.
inline constexpr std::uint32_t kProducerIdBytes = 16;
/// Bytes of a token in UpdateToken.
inline constexpr std::uint32_t kTokenBytesMax = 8 * kKiB;

// ---- queues --------------------

/// Bytes of a namespace's or queue's name: [A-Za-z0-9][A-Za-z0-9._-]{0,127}. It is never part of a
/// path.
inline constexpr std::uint32_t kNameBytesMax = 128;
/// "namespace/queue".
inline constexpr std::uint32_t kQualifiedNameBytesMax = 2 * kNameBytesMax + 1;
inline constexpr char kNamePattern[] = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}";

/// Queues of a broker, unless [limits] max_queues says less: each holds a few KiB even when empty.
inline constexpr std::uint32_t kQueuesMax = 100'000;
inline constexpr std::uint32_t kQueuesDefault = 10'000;

/// Messages and bytes of one queue that is not `unlimited`; beyond the disks of one machine it is a
/// mistake of unit.
inline constexpr std::uint64_t kQueueMessagesMax = 1'000'000'000'000;
inline constexpr std::uint64_t kQueueBytesMax = std::uint64_t{1} << 50;

/// Too short and every pause of a consumer loses its lease; too long and a lost message is missed
/// for a shift.
inline constexpr std::chrono::milliseconds kLeaseMin = std::chrono::seconds(1);
inline constexpr std::chrono::milliseconds kLeaseMax = std::chrono::hours(12);

/// Charged attempts; the count is stored as a small number with each retried message.
inline constexpr std::uint32_t kAttemptsMax = 1'000'000;

/// Of retry_backoff: first wait, multiplier and jitter (a share of the wait).
inline constexpr std::chrono::milliseconds kBackoffMin = std::chrono::milliseconds(1);
inline constexpr std::chrono::milliseconds kBackoffMax = std::chrono::hours(24);
inline constexpr double kBackoffMultiplierMin = 1.0;
inline constexpr double kBackoffMultiplierMax = 10.0;
inline constexpr double kBackoffJitterMax = 1.0;

/// How long a key is remembered. A week covers a weekend's outage of a producer.
inline constexpr std::chrono::milliseconds kDedupWindowMin = std::chrono::seconds(1);
inline constexpr std::chrono::milliseconds kDedupWindowMax = std::chrono::hours(24 * 7);
/// Keys of one queue that is not `unlimited`: about 100 bytes of disk and memory each.
inline constexpr std::uint64_t kDedupEntriesMax = 100'000'000;

/// Producers remembered for resume in one queue; the one unused longest is forgotten first.
inline constexpr std::uint32_t kProducersRememberedMax = 10'000;

/// Transitions that one queue remembers (history_entries); about 100 bytes each.
inline constexpr std::uint32_t kHistoryEntriesMax = 1'000'000;
/// Of one GetHistory.
inline constexpr std::uint32_t kHistoryPageMax = 1'000;
inline constexpr std::uint32_t kHistoryPageDefault = 100;
/// Sequences of one CancelMessages.
inline constexpr std::uint32_t kCancelSequencesMax = 1'024;
/// Publishes of one queue that wait for DELIVERED or SETTLED: each is an entry in memory until a
/// consumer has done its work.
inline constexpr std::uint64_t kAwaitedConfirmsMax = 100'000;
/// Of ageing_floor: below it priorities would mean nothing.
inline constexpr std::chrono::milliseconds kAgeingFloorMin = std::chrono::milliseconds(100);
inline constexpr std::chrono::milliseconds kAgeingFloorMax = std::chrono::hours(24);
/// Messages a second, of max_publish_rate and max_delivery_rate.
inline constexpr std::uint64_t kRateMax = 1'000'000'000;

/// Of expires_after_idle: shorter than a reconnect would remove a queue under its user.
inline constexpr std::chrono::milliseconds kIdleExpiryMin = std::chrono::seconds(10);

// ---- namespaces and tasks --------------------

/// Namespaces with a row: each costs memory without a queue.
inline constexpr std::uint32_t kNamespacesMax = 10'000;
/// Redrive tasks that run or wait at the same time: each holds a batch of bodies.
inline constexpr std::uint32_t kRedrivesRunningMax = 16;
inline constexpr std::uint32_t kRedrivesEndedMax = 100;  // kept to be asked about
/// Messages that a redrive moves in one atomic step: what its target must have room for at once.
inline constexpr std::uint32_t kRedriveBatchMax = 64;
inline constexpr std::chrono::milliseconds kRedriveRetry{1'000};  // its target is full

// ---- what must hold between them --------------------

static_assert(kPayloadBytesDefault <= kPayloadBytesMax);
static_assert(kPayloadBytesDefault <= kBatchBytesMax,
              "a batch takes a message of the default size");
static_assert(kMessageCountedBytesMax + 64 * kKiB <= kFrameBytesMax,
              "a frame takes the largest message");
static_assert(kBatchBytesMax <= kFrameBytesMax, "a frame takes a full batch");
static_assert(kBatchMessagesMax <= kPublishWindowMessages, "a full batch fits the first credit");
static_assert(kBatchBytesMax <= kPublishWindowBytes, "a full batch fits the first credit");
static_assert(kMessageCountedBytesMax <= kCreditBytesMax, "credit can cover the largest message");
static_assert(kSettlePublishesMax <= kBatchMessagesMax);
static_assert(kDeliveriesFrameBytes <= kOutboxBytesMax);
static_assert(std::uint64_t{kReasonBytesMax} * kSettleEntriesMax <= kFrameBytesMax,
              "a frame takes a full settle");
static_assert(kPeekBytesMax + kMessageCountedBytesMax <= 2 * kFrameBytesMax);
static_assert(kPageSizeDefault <= kPageSizeMax && kPeekMessagesDefault <= kPeekMessagesMax);
static_assert(kPingInterval < kPingTimeout, "a pong that is late by one interval is not a death");
static_assert(kQueuesDefault <= kQueuesMax);
static_assert(kLeaseMin < kLeaseMax && kDedupWindowMin < kDedupWindowMax &&
              kBackoffMin < kBackoffMax);
static_assert(kBackoffMax <= kDelayMax, "a retry's wait is a delay like others");

}  // namespace mqd::limits
