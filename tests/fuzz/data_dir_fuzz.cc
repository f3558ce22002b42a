// FORMAT and WATERMARK with any bytes: a start goes on with them or says what is wrong.
#include <filesystem>

#include "proto/base/assert.h"
#include "storage/commit_watermark.h"
#include "storage/data_dir.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/temporary_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const mqd::test::TemporaryDirectory directory;
  const mqd::fuzz::Input input(data, size);
  mqd::test::WriteFile(directory.path("FORMAT"), input.rest());
  if (const auto opened = mqd::storage::DataDir::Open(directory.path()); opened.ok()) {
    MQD_ASSERT(opened->identity().disk.size() == 32);
  } else {
    MQD_ASSERT(!opened.status().message().empty());
  }
  MQD_ASSERT(mqd::test::ReadFile(directory.path("FORMAT")) == input.rest());

  const std::string watermark = directory.path("WATERMARK");
  mqd::test::WriteFile(watermark, input.rest());
  auto opened = mqd::storage::CommitWatermark::Open(watermark);
  if (!opened.ok()) return 0;
  const std::uint64_t group = opened->group();
  if (group == UINT64_MAX) return 0;
  MQD_ASSERT(opened->Advance(group + 1).ok());
  MQD_ASSERT(mqd::storage::CommitWatermark::Open(watermark)->group() == group + 1);
  return 0;
}
