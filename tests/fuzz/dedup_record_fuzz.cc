// A row of the tables dedup and producers, with any bytes.
#include "storage/record_codec.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/record_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeDedupRecord,
                         mqd::storage::EncodeDedupRecord);
  mqd::fuzz::CheckRecord(input.rest(), mqd::storage::DecodeProducerRecord,
                         mqd::storage::EncodeProducerRecord);
  return 0;
}
