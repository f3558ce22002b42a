// A row of the table attempts: a message that was tried, with any bytes.
#include "storage/record_codec.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/record_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeAttemptRecord,
                         mqd::storage::EncodeAttemptRecord);
  return 0;
}
