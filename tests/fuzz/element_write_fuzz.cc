// A message as the library writes it: the broker's scan reads what was said, and nothing else.
#include <vector>

#include "proto/base/assert.h"
#include "proto/wire/frame_scan.h"
#include "proto/wire/frame_write.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

constexpr mqd::wire::MessageLimits kNoLimits = {.payload_bytes_max = 1u << 20,
                                                .key_bytes_max = 1u << 20,
                                                .headers_max = 1u << 20,
                                                .header_bytes_max = 1u << 20,
                                                .priority_max = UINT32_MAX,
                                                .batch_messages_max = 1'000,
                                                .delay_ms_max = INT64_MAX,
                                                .ttl_ms_max = INT64_MAX,
                                                .deliver_after_max = 1'000};

/// From one millisecond to 2100.
std::int64_t Milliseconds(std::uint64_t number) {
  return static_cast<std::int64_t>(number % 4'102'444'800'000);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mqd::fuzz::Input input(data, size);
  mqd::wire::MessageParts parts;
  parts.priority = static_cast<std::uint32_t>(input.Number());
  const std::int64_t when = Milliseconds(input.Number());
  (input.Byte() % 2 ? parts.delay_ms : parts.deliver_at_ms) = when;
  parts.ttl_ms = Milliseconds(input.Number());
  parts.idempotency_key = input.Text();
  std::vector<mqd::wire::MessageReference> references;
  for (int i = input.Byte() % 4; i > 0; --i) references.push_back({"q", input.Number()});
  parts.deliver_after = references;
  parts.payload = input.rest();

  std::string elements;
  const std::size_t bytes = mqd::wire::AppendElement(parts, elements);
  MQD_ASSERT(bytes == elements.size());
  const std::string frame =
      mqd::wire::PublishBatchHead({.first_publish_id = 7, .timeout_ms = 5}, bytes) + elements;
  const auto scanned_frame = mqd::wire::ScanFrame(frame);
  MQD_ASSERT(scanned_frame.ok());
  const auto batch = mqd::wire::ScanPublishBatch(scanned_frame->content, kNoLimits);
  MQD_ASSERT(batch.ok() && batch->messages.size() == 1);
  MQD_ASSERT(batch->first_publish_id == 7 && batch->timeout_ms == 5);
  if (!batch->faults.empty()) return 0;
  const mqd::wire::ScannedMessage& message = batch->messages[0];
  MQD_ASSERT(message.element == elements);
  MQD_ASSERT(message.priority == parts.priority && message.ttl_ms == parts.ttl_ms);
  MQD_ASSERT(message.delay_ms == parts.delay_ms && message.deliver_at_ms == parts.deliver_at_ms);
  MQD_ASSERT(message.idempotency_key == parts.idempotency_key);
  MQD_ASSERT(batch->references.size() == references.size());
  return 0;
}
