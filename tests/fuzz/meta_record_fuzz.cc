// A row of the table meta: a queue, a namespace or a redrive task, with any bytes.
#include "storage/record_codec.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/record_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeQueueRecord,
                         mqd::storage::EncodeQueueRecord);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeNamespaceRecord,
                         mqd::storage::EncodeNamespaceRecord);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeRedriveRecord,
                         mqd::storage::EncodeRedriveRecord);
  return 0;
}
