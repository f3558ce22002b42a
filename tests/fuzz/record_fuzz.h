#pragma once

// record_fuzz.h: what holds for every kind of value of the store, whatever its bytes.
//
// Threads: pure functions.

#include <string>

#include "proto/base/assert.h"
#include "storage/byte_codec.h"

namespace mqd::fuzz {

/// `fields` are a value without its checksum. A decoder takes it or refuses it; what it takes it
/// writes in the same bytes, or, of an older version, in the newest one, which then stays as it is.
template <class Decode, class Encode>
void CheckRecord(std::string_view fields, Decode decode, Encode encode) {
  std::string value(fields);
  storage::AppendChecksum(value);
  const auto record = decode(value);
  if (!record.ok()) {
    MQD_ASSERT(!record.status().message().empty());
    return;
  }
  const std::string again = encode(*record);
  if (again[0] == value[0]) {
    MQD_ASSERT(again == value);
    return;
  }
  const auto newest = decode(again);
  MQD_ASSERT(newest.ok() && encode(*newest) == again);
}

}  // namespace mqd::fuzz
