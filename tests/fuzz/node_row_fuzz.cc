// The rows that the store keeps for itself: head, applied, identity, with any bytes.
#include "storage/node_rows.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/record_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeHeadRow, mqd::storage::EncodeHeadRow);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeAppliedRow,
                         mqd::storage::EncodeAppliedRow);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeIdentityRow,
                         mqd::storage::EncodeIdentityRow);
  return 0;
}
