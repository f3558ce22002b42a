#include "proto/wire/frame_scan.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "google/protobuf/stubs/common.h"
#include "proto/wire/cursor.h"

namespace mqd::wire {
namespace {

using google::protobuf::internal::IsStructurallyValidUTF8;
using google::protobuf::internal::WireFormatLite;

// The ranges that duration.proto and timestamp.proto allow.
constexpr std::int64_t kDurationSecondsMax = 315'576'000'000;
constexpr std::int64_t kTimestampSecondsMax = 253'402'300'799;
constexpr std::int64_t kNanosMax = 999'999'999;

bool Fits(std::string_view bytes) {
  return bytes.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max());
}

absl::Status Malformed(std::string_view what) {
  return absl::InvalidArgumentError(std::string(what) + ": the bytes are not this frame");
}

/// True once for each field: a second occurrence is refused rather than guessed about.
bool FirstTime(std::uint32_t& seen, std::uint32_t tag) {
  const std::uint32_t bit = 1U << (tag >> 3);
  const bool first = (seen & bit) == 0;
  seen |= bit;
  return first;
}

/// Duration and Timestamp, which have the same fields.
struct SecondsNanos {
  std::int64_t seconds = 0;
  std::int64_t nanos = 0;
};

bool ScanSecondsNanos(std::string_view content, SecondsNanos& out) {
  Cursor cursor(content);
  std::uint32_t seen = 0;
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    std::uint64_t value = 0;
    if (!cursor.Tag(tag) || (tag != Var(1) && tag != Var(2))) return false;
    if (!FirstTime(seen, tag) || !cursor.Varint(value)) return false;
    (tag == Var(1) ? out.seconds : out.nanos) = static_cast<std::int64_t>(value);
  }
  return true;
}

/// Rounded up, so that a positive duration is never taken for none.
bool ScanDuration(std::string_view content, std::int64_t& milliseconds) {
  SecondsNanos parts;
  if (!ScanSecondsNanos(content, parts)) return false;
  if (parts.seconds < 0 || parts.seconds > kDurationSecondsMax) return false;
  if (parts.nanos < 0 || parts.nanos > kNanosMax) return false;
  milliseconds = parts.seconds * 1'000 + (parts.nanos + 999'999) / 1'000'000;
  return true;
}

bool ScanTimestamp(std::string_view content, std::int64_t& milliseconds) {
  SecondsNanos parts;
  if (!ScanSecondsNanos(content, parts)) return false;
  if (parts.seconds < 0 || parts.seconds > kTimestampSecondsMax) return false;
  if (parts.nanos < 0 || parts.nanos > kNanosMax) return false;
  milliseconds = parts.seconds * 1'000 + parts.nanos / 1'000'000;
  return true;
}

using Header = std::pair<std::string_view, std::string_view>;

/// One entry of a map<string, string>. Either part may be absent and is then empty.
bool ScanHeader(std::string_view content, Header& header) {
  Cursor cursor(content);
  std::uint32_t seen = 0;
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag) || (tag != Len(1) && tag != Len(2)) || !FirstTime(seen, tag)) return false;
    if (!cursor.Bytes(tag == Len(1) ? header.first : header.second)) return false;
  }
  return true;
}

bool Utf8(std::string_view text) {
  return IsStructurallyValidUTF8(text.data(), static_cast<int>(text.size()));
}

/// A MessageRef must be well formed, or it would poison whoever decodes the delivered message.
bool ScanReference(std::string_view content, ScannedReference& out) {
  Cursor cursor(content);
  std::uint32_t seen = 0;
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag) || (tag != Len(1) && tag != Var(2)) || !FirstTime(seen, tag)) return false;
    const bool good =
        tag == Len(1) ? cursor.Bytes(out.queue) && Utf8(out.queue) : cursor.Varint(out.sequence);
    if (!good) return false;
  }
  return true;
}

/// Scans one published message. The first rule that it breaks goes to `fault`.
class MessageScan {
 public:
  /// References go to the end of `references`.
  MessageScan(const MessageLimits& limits, std::vector<ScannedReference>& references,
              ScannedMessage& out, MessageFault& fault)
      : limits_(limits), reference_list_(references), out_(out), fault_(fault) {}

  bool Run(std::string_view content) {
    Cursor cursor(content);
    std::uint32_t seen = 0;
    while (!cursor.AtEnd()) {
      std::uint32_t tag = 0;
      if (!cursor.Tag(tag)) return Bad("message", "a field tag is malformed");
      const bool repeats = tag == Len(7) || tag == Len(8);
      if (!Known(tag)) return Bad("field " + std::to_string(tag >> 3), "not known to this version");
      if (!repeats && !FirstTime(seen, tag)) return Bad(Name(tag), "set twice");
      if (!Field(cursor, tag)) return false;
    }
    return CheckWhole();
  }

 private:
  static bool Known(std::uint32_t tag) {
    if (tag == Len(15) || tag == Var(3)) return true;
    return tag >= Len(1) && tag <= Len(8) && tag != Len(3) && (tag & 7) == (Len(1) & 7);
  }

  static std::string_view Name(std::uint32_t tag) {
    static constexpr std::array<std::string_view, 9> kNames = {
        "message", "idempotency_key", "ordering_key", "priority", "delay", "deliver_at",
        "ttl",     "headers",         "deliver_after"};
    return tag == Len(15) ? "payload" : kNames[tag >> 3];
  }

  bool Field(Cursor& cursor, std::uint32_t tag) {
    if (tag == Var(3)) return Priority(cursor);
    std::string_view bytes;
    if (!cursor.Bytes(bytes)) return Bad(Name(tag), "cut short or its length is malformed");
    switch (tag) {
      case Len(15):
        payload_ = bytes;
        return true;
      case Len(1):
        out_.idempotency_key = bytes;
        return Key(tag, bytes);
      case Len(2):
        out_.ordering_key = bytes;
        return Key(tag, bytes);
      case Len(4):
        return (ScanDuration(bytes, out_.delay_ms) ||
                Bad("delay", "not a duration of 0 or more")) &&
               AtMost("delay", out_.delay_ms, limits_.delay_ms_max);
      case Len(5):
        return (ScanTimestamp(bytes, out_.deliver_at_ms) && out_.deliver_at_ms > 0) ||
               Bad("deliver_at", "not a time after 1970");
      case Len(6):
        return ((ScanDuration(bytes, out_.ttl_ms) && out_.ttl_ms > 0) ||
                Bad("ttl", "not a positive duration")) &&
               AtMost("ttl", out_.ttl_ms, limits_.ttl_ms_max);
      case Len(7):
        return AddHeader(bytes);
      default:
        return AddReference(bytes);
    }
  }

  bool AtMost(std::string_view field, std::int64_t milliseconds, std::int64_t most) {
    if (milliseconds <= most) return true;
    return Bad(field, "longer than the limit in milliseconds", static_cast<std::uint64_t>(most),
               static_cast<std::uint64_t>(milliseconds));
  }

  bool AddReference(std::string_view bytes) {
    reference_digest_ = XXH3_64bits_withSeed(bytes.data(), bytes.size(), reference_digest_);
    ScannedReference reference;
    if (!ScanReference(bytes, reference)) return Bad("deliver_after", "not a MessageRef");
    if (reference.sequence == 0) {
      return Bad("deliver_after", "a reference without a sequence; sequences begin with 1");
    }
    if (out_.reference_count == 0) {
      out_.first_reference = static_cast<std::uint32_t>(reference_list_.size());
    }
    if (++out_.reference_count > limits_.deliver_after_max) {
      return Bad("deliver_after", "too many references", limits_.deliver_after_max,
                 out_.reference_count);
    }
    reference_list_.push_back(reference);
    return true;
  }

  bool Priority(Cursor& cursor) {
    std::uint64_t value = 0;
    if (!cursor.Varint(value)) return Bad("priority", "not a number");
    if (value > limits_.priority_max) {
      return Bad("priority", "above the highest priority", limits_.priority_max, value);
    }
    out_.priority = static_cast<std::uint32_t>(value);
    return true;
  }

  bool Key(std::uint32_t tag, std::string_view key) {
    if (key.size() > limits_.key_bytes_max) {
      return Bad(Name(tag), "longer than the limit", limits_.key_bytes_max, key.size());
    }
    return Utf8(key) || Bad(Name(tag), "not valid UTF-8");
  }

  bool AddHeader(std::string_view bytes) {
    Header header;
    if (headers_.size() == limits_.headers_max) {
      return Bad("headers", "too many", limits_.headers_max, headers_.size() + 1);
    }
    if (!ScanHeader(bytes, header)) return Bad("headers", "not a map of strings");
    if (!Utf8(header.first) || !Utf8(header.second)) return Bad("headers", "not valid UTF-8");
    const auto same_key = [&](const Header& other) { return other.first == header.first; };
    if (std::any_of(headers_.begin(), headers_.end(), same_key)) {
      return Bad("headers", "key \"" + std::string(header.first) + "\" is there twice");
    }
    header_bytes_ += header.first.size() + header.second.size();
    headers_.push_back(header);
    return true;
  }

  bool CheckWhole() {
    if (payload_.size() > limits_.payload_bytes_max) {
      return TooLarge("payload", limits_.payload_bytes_max, payload_.size());
    }
    if (header_bytes_ > limits_.header_bytes_max) {
      return TooLarge("headers", limits_.header_bytes_max, header_bytes_);
    }
    if (out_.delay_ms > 0 && out_.deliver_at_ms > 0) {
      return Bad("delay", "set together with deliver_at; set at most one of them");
    }
    out_.content_bytes = static_cast<std::uint32_t>(
        payload_.size() + header_bytes_ + out_.idempotency_key.size() + out_.ordering_key.size());
    if (!out_.idempotency_key.empty()) Digest();
    return true;
  }

  void Digest() {
    const IdempotencyKeyHash hash = HashOfKey(out_.idempotency_key);
    out_.key_hash_high = hash.high;
    out_.key_hash_low = hash.low;
    std::uint64_t headers = 0;  // a sum, so that their order does not matter
    for (const auto& [name, value] : headers_) {
      const std::uint64_t seed = XXH3_64bits(name.data(), name.size());
      headers += XXH3_64bits_withSeed(value.data(), value.size(), seed);
    }
    const std::array<std::uint64_t, 8> parts = {
        XXH3_64bits(payload_.data(), payload_.size()),
        XXH3_64bits(out_.ordering_key.data(), out_.ordering_key.size()),
        headers,
        reference_digest_,
        out_.priority,
        static_cast<std::uint64_t>(out_.delay_ms),
        static_cast<std::uint64_t>(out_.deliver_at_ms),
        static_cast<std::uint64_t>(out_.ttl_ms)};
    out_.digest = XXH3_64bits(parts.data(), sizeof(parts));
  }

  bool TooLarge(std::string_view field, std::uint64_t limit, std::uint64_t current) {
    Bad(field, "larger than the limit", limit, current);
    fault_.kind = MessageFault::Kind::kTooLarge;
    return false;
  }

  bool Bad(std::string_view field, std::string_view text, std::uint64_t limit = 0,
           std::uint64_t current = 0) {
    fault_ = {MessageFault::Kind::kBadField, std::string(field), {}, limit, current};
    fault_.text = fault_.field + ": " + std::string(text);
    if (limit != 0) {
      fault_.text += " (limit " + std::to_string(limit) + ", is " + std::to_string(current) + ")";
    }
    return false;
  }

  const MessageLimits& limits_;
  std::vector<ScannedReference>& reference_list_;
  ScannedMessage& out_;
  MessageFault& fault_;
  std::string_view payload_;
  absl::InlinedVector<Header, 4> headers_;
  std::uint64_t header_bytes_ = 0;
  std::uint64_t reference_digest_ = 0;
};

/// Scans the message whose tag has just been read at `start` of `content`.
absl::Status ScanElement(Cursor& cursor, std::string_view content, int start,
                         const MessageLimits& limits, ScannedBatch& out) {
  std::string_view bytes;
  if (!cursor.Bytes(bytes)) return Malformed("messages");
  if (out.messages.size() == limits.batch_messages_max) {
    return absl::InvalidArgumentError("a batch holds at most " +
                                      std::to_string(limits.batch_messages_max) + " messages");
  }
  if (out.messages.empty()) {  // the others are likely of this size too
    const std::size_t likely = content.size() / std::max<std::size_t>(bytes.size(), 1) + 1;
    out.messages.reserve(std::min(likely, limits.batch_messages_max));
  }
  ScannedMessage& message = out.messages.emplace_back();
  const auto begin = static_cast<std::size_t>(start);
  message.element = content.substr(begin, static_cast<std::size_t>(cursor.Position()) - begin);
  MessageFault fault{};
  if (!MessageScan(limits, out.references, message, fault).Run(bytes)) {
    const auto index = static_cast<std::uint32_t>(out.messages.size() - 1);
    out.faults.emplace_back(index, std::move(fault));
  }
  return absl::OkStatus();
}

bool ScanBatchField(Cursor& cursor, std::uint32_t tag, ScannedBatch& out) {
  std::uint64_t value = 0;
  std::string_view bytes;
  switch (tag) {
    case Var(1):
      return cursor.Varint(out.first_publish_id);
    case Var(2):
      return cursor.Varint(out.answered_through);
    case Var(3):
      if (!cursor.Varint(value) || value > std::numeric_limits<std::int32_t>::max()) return false;
      out.confirm_level = static_cast<std::uint32_t>(value);
      return true;
    case Len(4):
      return cursor.Bytes(bytes) && ScanDuration(bytes, out.timeout_ms);
    default:
      return false;
  }
}

bool ScanMessageView(std::string_view content, MessageView& out) {
  Cursor cursor(content);
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    std::uint64_t value = 0;
    std::string_view bytes;
    if (!cursor.Tag(tag)) return false;
    bool good = true;
    if (tag == Len(15)) {
      good = cursor.Bytes(out.payload);
    } else if (tag == Len(1)) {
      good = cursor.Bytes(out.idempotency_key);
    } else if (tag == Len(2)) {
      good = cursor.Bytes(out.ordering_key);
    } else if (tag == Var(3)) {
      good = cursor.Varint(value);
      out.priority = static_cast<std::uint32_t>(value);
    } else if (tag == Len(7)) {
      good = cursor.Bytes(bytes) && ScanHeader(bytes, out.headers.emplace_back());
    } else {
      good = cursor.Skip(tag);
    }
    if (!good) return false;
  }
  return true;
}

bool ScanRunField(Cursor& cursor, std::uint32_t tag, ScannedRun& out) {
  std::uint64_t value = 0;
  std::string_view bytes;
  switch (tag) {
    case Var(1):
      return cursor.Varint(out.first_delivery_id);
    case Var(2):
      return cursor.Varint(out.first_sequence);
    case Var(3):
      if (!cursor.Varint(value)) return false;
      out.delivery_attempt = static_cast<std::uint32_t>(value);
      return true;
    case Len(4):
      return cursor.Bytes(bytes) && ScanTimestamp(bytes, out.publish_time_ms);
    case Len(5):
      return cursor.Bytes(bytes) && ScanDuration(bytes, out.lease_ms);
    case Var(6):
      return cursor.Varint(out.fence);
    case Len(7):
      return cursor.Bytes(out.dead_letter);
    case Len(15):
      return cursor.Bytes(bytes) && ScanMessageView(bytes, out.messages.emplace_back());
    default:
      return cursor.Skip(tag);
  }
}

bool ScanRun(std::string_view content, ScannedRun& out) {
  Cursor cursor(content);
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag) || !ScanRunField(cursor, tag, out)) return false;
  }
  return true;
}

bool ScanDeliveriesField(Cursor& cursor, std::uint32_t tag, ScannedDeliveries& out) {
  std::uint64_t value = 0;
  std::string_view bytes;
  switch (tag) {
    case Var(1):
      if (!cursor.Varint(value)) return false;
      out.queue_index = static_cast<std::uint32_t>(value);
      return value <= std::numeric_limits<std::uint32_t>::max();
    case Var(2):
      return cursor.Varint(out.charged_messages);
    case Var(3):
      return cursor.Varint(out.charged_bytes);
    case Len(15):
      return cursor.Bytes(bytes) && ScanRun(bytes, out.runs.emplace_back());
    default:
      return cursor.Skip(tag);
  }
}

}  // namespace

absl::StatusOr<Frame> ScanFrame(std::string_view bytes) {
  if (!Fits(bytes)) return Malformed("frame");
  Cursor cursor(bytes);
  std::uint32_t tag = 0;
  Frame frame;
  if (!cursor.Tag(tag) || (tag & 7) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
    return Malformed("frame");
  }
  frame.field = tag >> 3;
  if (!cursor.Bytes(frame.content) || !cursor.AtEnd()) return Malformed("frame");
  return frame;
}

absl::StatusOr<ScannedBatch> ScanPublishBatch(std::string_view content,
                                              const MessageLimits& limits) {
  if (!Fits(content)) return Malformed("PublishBatch");
  ScannedBatch out;
  Cursor cursor(content);
  std::uint32_t seen = 0;
  while (!cursor.AtEnd()) {
    const int start = cursor.Position();
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag)) return Malformed("PublishBatch");
    if (tag == Len(15)) {
      absl::Status scanned = ScanElement(cursor, content, start, limits, out);
      if (!scanned.ok()) return scanned;
    } else if (tag >> 3 > 4 || !FirstTime(seen, tag) || !ScanBatchField(cursor, tag, out)) {
      return Malformed("PublishBatch");
    }
  }
  const std::uint64_t count = out.messages.size();
  if (count == 0) return out;
  if (out.first_publish_id == 0) {
    return absl::InvalidArgumentError("PublishBatch: publish ids begin at 1");
  }
  if (out.first_publish_id > std::numeric_limits<std::uint64_t>::max() - count) {
    return absl::InvalidArgumentError("PublishBatch: the publish ids run over 64 bits");
  }
  return out;
}

absl::Status ScanMessages(std::string_view content, const MessageLimits& limits,
                          ScannedBatch& out) {
  if (!Fits(content)) return Malformed("request");
  Cursor cursor(content);
  while (!cursor.AtEnd()) {
    const int start = cursor.Position();
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag)) return Malformed("request");
    if (tag == Len(15)) {
      absl::Status scanned = ScanElement(cursor, content, start, limits, out);
      if (!scanned.ok()) return scanned;
    } else if (!cursor.Skip(tag)) {
      return Malformed("request");
    }
  }
  return absl::OkStatus();
}

IdempotencyKeyHash HashOfKey(std::string_view key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return {.high = hash.high64, .low = hash.low64};
}

absl::StatusOr<ScannedDeliveries> ScanDeliveries(std::string_view content) {
  if (!Fits(content)) return Malformed("Deliveries");
  ScannedDeliveries out;
  Cursor cursor(content);
  while (!cursor.AtEnd()) {
    std::uint32_t tag = 0;
    if (!cursor.Tag(tag) || !ScanDeliveriesField(cursor, tag, out)) return Malformed("Deliveries");
  }
  return out;
}

}  // namespace mqd::wire
