#include "proto/wire/frame_write.h"

#include <array>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace mqd::wire {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr std::size_t kVarintBytesMax = 10;
constexpr std::size_t kTagBytesMax = 1;  // field numbers up to 15

constexpr std::uint8_t Len(int field) {
  return static_cast<std::uint8_t>((field << 3) | WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr std::uint8_t Var(int field) {
  return static_cast<std::uint8_t>((field << 3) | WireFormatLite::WIRETYPE_VARINT);
}

std::size_t VarintField(std::uint64_t value) {
  return value == 0 ? 0 : kTagBytesMax + CodedOutputStream::VarintSize64(value);
}

std::size_t BytesField(std::size_t bytes) {
  return kTagBytesMax + CodedOutputStream::VarintSize64(bytes) + bytes;
}

/// Seconds and nanoseconds of a Duration or Timestamp; both encode the same.
struct SecondsNanos {
  explicit SecondsNanos(std::int64_t milliseconds)
      : seconds(static_cast<std::uint64_t>(milliseconds / 1'000)),
        nanos(static_cast<std::uint64_t>(milliseconds % 1'000 * 1'000'000)) {}
  std::size_t bytes() const { return VarintField(seconds) + VarintField(nanos); }

  std::uint64_t seconds;
  std::uint64_t nanos;
};

/// Small fields gathered on the stack, then appended at once. Holds fixed-size fields only.
class Scratch {
 public:
  void Tag(std::uint8_t tag) { *end_++ = tag; }
  void Varint(std::uint64_t value) { end_ = CodedOutputStream::WriteVarint64ToArray(value, end_); }
  void Field(std::uint8_t tag, std::uint64_t value) {
    if (value == 0) return;
    Tag(tag);
    Varint(value);
  }
  void Prefix(std::uint8_t tag, std::size_t bytes) {
    Tag(tag);
    Varint(bytes);
  }
  void Time(std::uint8_t tag, std::int64_t milliseconds) {
    const SecondsNanos parts(milliseconds);
    Prefix(tag, parts.bytes());
    Field(Var(1), parts.seconds);
    Field(Var(2), parts.nanos);
  }
  void TimeUnlessZero(std::uint8_t tag, std::int64_t milliseconds) {
    if (milliseconds != 0) Time(tag, milliseconds);
  }

  void Flush(std::string& out) {
    out.append(reinterpret_cast<const char*>(bytes_.data()), size());
    end_ = bytes_.data();
  }
  std::size_t size() const { return static_cast<std::size_t>(end_ - bytes_.data()); }

 private:
  static constexpr std::size_t kFieldsMax = 12;
  std::array<std::uint8_t, kFieldsMax*(kTagBytesMax + kVarintBytesMax) * 2> bytes_;
  std::uint8_t* end_ = bytes_.data();
};

void AppendBytes(std::uint8_t tag, std::string_view bytes, Scratch& scratch, std::string& out) {
  if (bytes.empty()) return;
  scratch.Prefix(tag, bytes.size());
  scratch.Flush(out);
  out.append(bytes);
}

std::size_t TimeField(std::int64_t milliseconds) {
  return milliseconds == 0 ? 0 : BytesField(SecondsNanos(milliseconds).bytes());
}

std::size_t OptionalBytesField(std::size_t bytes) { return bytes == 0 ? 0 : BytesField(bytes); }

std::size_t HeaderBytes(const std::pair<std::string, std::string>& header) {
  return BytesField(header.first.size()) + BytesField(header.second.size());
}

std::size_t ReferenceBytes(const MessageReference& reference) {
  return OptionalBytesField(reference.queue.size()) + VarintField(reference.sequence);
}

std::size_t MessageBytes(const MessageParts& message) {
  std::size_t bytes = OptionalBytesField(message.payload.size()) +
                      OptionalBytesField(message.idempotency_key.size()) +
                      OptionalBytesField(message.ordering_key.size()) +
                      VarintField(message.priority) + TimeField(message.delay_ms) +
                      TimeField(message.deliver_at_ms) + TimeField(message.ttl_ms);
  for (const auto& header : message.headers) bytes += BytesField(HeaderBytes(header));
  for (const auto& after : message.deliver_after) bytes += BytesField(ReferenceBytes(after));
  return bytes;
}

void AppendHeaders(const MessageParts& message, Scratch& scratch, std::string& out) {
  for (const auto& header : message.headers) {
    scratch.Prefix(Len(7), HeaderBytes(header));
    scratch.Prefix(Len(1), header.first.size());
    scratch.Flush(out);
    out.append(header.first);
    scratch.Prefix(Len(2), header.second.size());
    scratch.Flush(out);
    out.append(header.second);
  }
}

void AppendReferences(const MessageParts& message, Scratch& scratch, std::string& out) {
  for (const MessageReference& after : message.deliver_after) {
    scratch.Prefix(Len(8), ReferenceBytes(after));
    AppendBytes(Len(1), after.queue, scratch, out);
    scratch.Field(Var(2), after.sequence);
    scratch.Flush(out);
  }
}

}  // namespace

std::size_t AppendElement(const MessageParts& message, std::string& elements) {
  const std::size_t before = elements.size();
  Scratch scratch;
  scratch.Prefix(Len(15), MessageBytes(message));
  AppendBytes(Len(1), message.idempotency_key, scratch, elements);
  AppendBytes(Len(2), message.ordering_key, scratch, elements);
  scratch.Field(Var(3), message.priority);
  scratch.TimeUnlessZero(Len(4), message.delay_ms);
  scratch.TimeUnlessZero(Len(5), message.deliver_at_ms);
  scratch.TimeUnlessZero(Len(6), message.ttl_ms);
  AppendHeaders(message, scratch, elements);
  AppendReferences(message, scratch, elements);
  AppendBytes(Len(15), message.payload, scratch, elements);
  scratch.Flush(elements);
  return elements.size() - before;
}

std::string PublishBatchHead(const BatchHead& head, std::size_t elements_bytes) {
  Scratch fields;
  fields.Field(Var(1), head.first_publish_id);
  fields.Field(Var(2), head.answered_through);
  fields.Field(Var(3), head.confirm_level);
  if (head.timeout_ms >= 0) fields.Time(Len(4), head.timeout_ms);
  Scratch prefix;
  prefix.Prefix(Len(2), fields.size() + elements_bytes);
  std::string out;
  prefix.Flush(out);
  fields.Flush(out);
  return out;
}

std::string EncodeRunHead(const RunHead& head) {
  std::string out;
  Scratch fields;
  fields.Field(Var(1), head.first_delivery_id);
  fields.Field(Var(2), head.first_sequence);
  fields.Field(Var(3), head.delivery_attempt);
  fields.TimeUnlessZero(Len(4), head.publish_time_ms);
  fields.TimeUnlessZero(Len(5), head.lease_ms);
  fields.Field(Var(6), head.fence);
  AppendBytes(Len(7), head.dead_letter, fields, out);
  fields.Flush(out);
  return out;
}

std::string RunPrefix(std::size_t head_bytes, std::size_t elements_bytes) {
  Scratch prefix;
  prefix.Prefix(Len(15), head_bytes + elements_bytes);
  std::string out;
  prefix.Flush(out);
  return out;
}

std::string DeliveriesHead(std::uint32_t queue_index, std::uint64_t charged_messages,
                           std::uint64_t charged_bytes, std::size_t runs_bytes) {
  Scratch fields;
  fields.Field(Var(1), queue_index);
  fields.Field(Var(2), charged_messages);
  fields.Field(Var(3), charged_bytes);
  Scratch prefix;
  prefix.Prefix(Len(2), fields.size() + runs_bytes);
  std::string out;
  prefix.Flush(out);
  fields.Flush(out);
  return out;
}

}  // namespace mqd::wire
