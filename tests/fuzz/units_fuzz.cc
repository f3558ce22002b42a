// Sizes, durations and times as people write them: what is taken can be written and read again.
#include "client/mqctl/units.h"
#include "proto/base/assert.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = mqd::mqctl::ParseSize(text); bytes.ok()) {
    MQD_ASSERT(mqd::mqctl::ParseSize(mqd::mqctl::FormatSize(*bytes)).value() == *bytes);
  }
  if (const auto duration = mqd::mqctl::ParseDuration(text); duration.ok()) {
    const std::string written = mqd::mqctl::FormatDuration(*duration);
    MQD_ASSERT(mqd::mqctl::ParseDuration(written).value() == *duration);
  }
  const auto time = mqd::mqctl::ParseTime(text);
  if (time.ok()) MQD_ASSERT(*time >= std::chrono::system_clock::time_point());
  return 0;
}
