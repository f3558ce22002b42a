// What a client is sent: what the scan and the generated classes both take they read the same. Text
// that is not UTF-8, and a broken dead_letter, only the latter refuse.
#include "mqd/v1/broker.pb.h"
#include "proto/base/assert.h"
#include "proto/wire/frame_scan.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  const auto frame = mqd::wire::ScanFrame(input.rest());
  const std::string_view content = frame.ok() ? frame->content : input.rest();
  const auto scanned = mqd::wire::ScanDeliveries(content);
  if (!scanned.ok()) return 0;
  mqd::v1::Deliveries decoded;
  if (!decoded.ParseFromArray(content.data(), static_cast<int>(content.size()))) return 0;
  MQD_ASSERT(static_cast<std::size_t>(decoded.runs_size()) == scanned->runs.size());
  MQD_ASSERT(decoded.charged_messages() == scanned->charged_messages);
  for (std::size_t i = 0; i < scanned->runs.size(); ++i) {
    const mqd::v1::DeliveryRun& run = decoded.runs(static_cast<int>(i));
    MQD_ASSERT(run.first_delivery_id() == scanned->runs[i].first_delivery_id);
    MQD_ASSERT(run.first_sequence() == scanned->runs[i].first_sequence);
    MQD_ASSERT(static_cast<std::size_t>(run.messages_size()) == scanned->runs[i].messages.size());
    for (std::size_t k = 0; k < scanned->runs[i].messages.size(); ++k) {
      const mqd::v1::Message& message = run.messages(static_cast<int>(k));
      MQD_ASSERT(message.payload() == scanned->runs[i].messages[k].payload);
      MQD_ASSERT(message.priority() == scanned->runs[i].messages[k].priority);
    }
  }
  return 0;
}
