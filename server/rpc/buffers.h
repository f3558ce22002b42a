#pragma once

// buffers.h: bytes of gRPC to and from ours.
//
// Threads: Pure functions.
// Ownership: A slice shares the bytes of the buffer it came from.

#include <memory>
#include <string_view>

#include "google/protobuf/message_lite.h"
#include "grpcpp/support/byte_buffer.h"

namespace mqd::rpc {

/// All of `buffer` as one piece; copied only when it came in several.
inline std::shared_ptr<const grpc::Slice> ToSlice(const grpc::ByteBuffer& buffer) {
  auto slice = std::make_shared<grpc::Slice>();
  if (buffer.TrySingleSlice(slice.get()).ok()) return slice;
  if (!buffer.DumpToSingleSlice(slice.get()).ok()) return std::make_shared<grpc::Slice>();
  return slice;
}

inline std::string_view ViewOf(const grpc::Slice& slice) {
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

inline grpc::ByteBuffer ToBuffer(const google::protobuf::MessageLite& message) {
  grpc::Slice slice(message.ByteSizeLong());
  // A slice that nobody else has seen yet may be filled.
  message.SerializeWithCachedSizesToArray(const_cast<std::uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace mqd::rpc
