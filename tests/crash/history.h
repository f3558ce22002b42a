#pragma once

// history.h: what clients of the daemon asked for and what they were told, as one list of records.
//
// A record is one operation: when it was invoked, when it returned, what it was about, and how it
// ended. An operation that has not returned, or whose stream broke, has an unknown outcome: it may
// have taken effect, now or later until the broker dies.
//
// Threads:   any thread may call any method of History, at the same time. Records are values.
// Ownership: the history owns its records; Copy() gives them away as they are.
// Limits:    memory only: about 150 bytes a record.

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/base/mutex.h"

namespace mqd::crash {

enum class Kind : std::uint8_t {
  kPublish,     // one message to one queue
  kDeliver,     // one delivery reached a client
  kSettle,      // one delivery settled
  kDetach,      // a session of a consumer ends, or may have: what it held can go to others
  kCredit,      // a session may be sent `messages` and `bytes` more
  kStats,       // the counts of one queue
  kKill,        // the daemon was killed
  kServe,       // the daemon serves
  kFault,       // from begin to end clients may see what happens late, or never; `note` says why
  kStuck,       // nothing moved for too long; `note` says what
  kDaemonExit,  // the daemon ended without being killed; `note` says how
};

enum class Outcome : std::uint8_t {
  kUnknown,  // nobody can say
  kOk,
  kFail,  // refused: it has no effect, now or later
};

enum class SettleKind : std::uint8_t { kNone, kAck, kRetry, kRelease, kDeadLetter };

/// The steady clock in nanoseconds: every time in a history.
std::int64_t NowNs();

/// Operations are numbered from 1 in the order of their invocation; 0 is none.
using OperationId = std::uint64_t;

struct Record {
  Kind kind = Kind::kPublish;
  Outcome outcome = Outcome::kUnknown;
  SettleKind settle = SettleKind::kNone;
  bool duplicate = false;  // publish: the broker says that it has the message
  bool at_rest = false;    // stats: no client is connected and nothing is under way
  bool limited = false;    // deliver: held against the credit records of its session
  bool broken = false;     // detach: the stream broke, the client did not end it; kill: a power cut
  std::uint32_t process = 0;
  std::uint32_t queue = 0;    // index into the rules
  std::uint32_t attempt = 0;  // deliver: as told by the broker
  OperationId id = 0;
  OperationId parent = 0;        // publish: the settle that it is atomic with
  std::uint64_t session = 0;     // one stream or one unary receive of a consumer
  std::uint64_t message = 0;     // names the message; travels inside its payload. 0: unreadable
  std::uint64_t digest = 0;      // of the whole payload
  std::uint64_t key = 0;         // stands for the idempotency key; 0: none
  std::uint64_t sequence = 0;    // publish ok, deliver, settle
  std::uint64_t origin = 0;      // deliver from a dead-letter queue: the sequence it had before
  std::uint64_t delivery = 0;    // deliver, settle: the delivery id
  std::uint64_t messages = 0;    // credit; stats: the backlog
  std::uint64_t bytes = 0;       // credit; stats: of the backlog; deliver: what is charged
  std::int64_t lease_ns = 0;     // deliver; 0: the queue's
  std::uint64_t stored = 0;      // stats: messages stored since the broker started
  std::uint64_t gone = 0;        // stats: messages that left since the broker started
  std::int64_t invoked_ns = 0;   // steady clock
  std::int64_t returned_ns = 0;  // steady clock; 0: never
  std::string note;
};

class History {
 public:
  /// Adds an operation that begins now and gives it its id.
  OperationId Invoke(Record record);

  /// It ended now. For a publish, `sequence` and `duplicate` say as what; `note` why not.
  void Return(OperationId id, Outcome outcome, std::uint64_t sequence = 0, bool duplicate = false,
              std::string note = {});

  /// A fault ends, or its last effect will have ended, at this time.
  void EndFault(OperationId id, std::int64_t end_ns);

  /// Adds something that begins and ends now.
  OperationId Add(Record record);

  /// When a publish or a settle of `process` was last answered with OK; 0: never.
  std::int64_t LastOk(std::uint32_t process) const;

  /// Adds the records of another history, whose numbers are their order in `records`.
  void Append(std::vector<Record> records);

  /// A copy, for a look at the history while it is written.
  std::vector<Record> Copy() const;

 private:
  mutable base::Mutex mutex_;
  std::deque<Record> records_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint32_t, std::int64_t> last_ok_ ABSL_GUARDED_BY(mutex_);  // by process
};

/// One line of JSON for each record, in order of invocation. Fails with kUnavailable when the file
/// cannot be written.
absl::Status WriteJsonLines(const std::vector<Record>& records, const std::string& path);

/// What WriteJsonLines() has written.
absl::StatusOr<std::vector<Record>> ReadJsonLines(const std::string& path);

const char* NameOf(Kind kind);
const char* NameOf(Outcome outcome);
const char* NameOf(SettleKind settle);

}  // namespace mqd::crash
