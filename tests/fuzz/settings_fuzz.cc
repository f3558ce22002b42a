// The settings of a queue as the store has them, with any bytes.
#include "proto/base/assert.h"
#include "server/queue/settings.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  const auto settings = mqd::queue::DecodeSettings(input.rest());
  if (!settings.ok()) {
    MQD_ASSERT(!settings.status().message().empty());
    return 0;
  }
  const std::string encoded = mqd::queue::EncodeSettings(*settings);
  const auto again = mqd::queue::DecodeSettings(encoded);
  MQD_ASSERT(again.ok() && mqd::queue::EncodeSettings(*again) == encoded);
  mqd::queue::Validate(*settings, "default/jobs").IgnoreError();
  return 0;
}
