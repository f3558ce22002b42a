// A row of the table bodies: what is taken has elements that are its bytes, one behind the other.
#include "proto/base/assert.h"
#include "storage/body.h"
#include "storage/byte_codec.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string encoded(reinterpret_cast<const char*>(data), size);
  mqd::storage::AppendChecksum(encoded);
  const auto body = mqd::storage::Body::Decode(encoded);
  if (!body.ok()) return 0;
  std::string elements;
  mqd::storage::Body::Builder builder;
  for (std::size_t i = 0; i < (*body)->count(); ++i) {
    elements += (*body)->Element(i);
    builder.Append((*body)->Element(i));
  }
  MQD_ASSERT((*body)->Elements(0, (*body)->count()) == elements);
  MQD_ASSERT(std::move(builder).Finish()->encoded() == encoded);
  return 0;
}
