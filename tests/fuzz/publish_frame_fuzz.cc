// What a publisher sends: the scan takes no more than the generated classes do, and reads the same.
#include "mqd/v1/broker.pb.h"
#include "proto/base/assert.h"
#include "proto/wire/frame_scan.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using mqd::wire::ScannedBatch;

constexpr mqd::wire::MessageLimits kLimits = {.payload_bytes_max = 1'000,
                                              .key_bytes_max = 128,
                                              .headers_max = 4,
                                              .header_bytes_max = 100,
                                              .priority_max = 9,
                                              .batch_messages_max = 8,
                                              .delay_ms_max = 10'000,
                                              .ttl_ms_max = 1'000'000,
                                              .deliver_after_max = 3};

void CheckPlaces(std::string_view content, const ScannedBatch& batch) {
  std::size_t references = 0;
  for (const auto& message : batch.messages) {
    MQD_ASSERT(message.element.data() >= content.data());
    MQD_ASSERT(message.element.data() + message.element.size() <= content.data() + content.size());
    references += message.reference_count;
    MQD_ASSERT(message.first_reference + message.reference_count <= batch.references.size());
  }
  for (const auto& [index, fault] : batch.faults) {
    MQD_ASSERT(index < batch.messages.size() && !fault.text.empty());
  }
}

void CheckMeaning(std::string_view content, const ScannedBatch& batch) {
  mqd::v1::PublishBatch decoded;
  MQD_ASSERT(decoded.ParseFromArray(content.data(), static_cast<int>(content.size())));
  MQD_ASSERT(static_cast<std::size_t>(decoded.messages_size()) == batch.messages.size());
  MQD_ASSERT(decoded.first_publish_id() == batch.first_publish_id);
  for (std::size_t i = 0; i < batch.messages.size(); ++i) {
    const mqd::v1::Message& message = decoded.messages(static_cast<int>(i));
    MQD_ASSERT(message.idempotency_key() == batch.messages[i].idempotency_key);
    MQD_ASSERT(message.ordering_key() == batch.messages[i].ordering_key);
    MQD_ASSERT(message.priority() == batch.messages[i].priority);
    MQD_ASSERT(message.payload().size() <= batch.messages[i].content_bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  const auto frame = mqd::wire::ScanFrame(input.rest());
  const std::string_view content = frame.ok() ? frame->content : input.rest();
  const auto batch = mqd::wire::ScanPublishBatch(content, kLimits);
  if (batch.ok()) {
    CheckPlaces(content, *batch);
    if (batch->faults.empty()) CheckMeaning(content, *batch);
  }
  ScannedBatch unary;
  if (mqd::wire::ScanMessages(content, kLimits, unary).ok()) CheckPlaces(content, unary);
  return 0;
}
