// Names of queues and addresses to listen on, as people write them.
#include "proto/base/assert.h"
#include "server/config.h"
#include "server/queue/queue_registry.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const mqd::fuzz::Input input(data, size);
  const auto name = mqd::queue::FullName(input.rest());
  if (name.ok()) {
    MQD_ASSERT(std::count(name->begin(), name->end(), '/') == 1);
    MQD_ASSERT(
        std::all_of(name->begin(), name->end(), [](char c) { return IsPlain(c) || c == '/'; }));
    MQD_ASSERT(mqd::queue::FullName(*name).value() == *name);
  }
  const auto address = mqd::server::ParseListenAddress(input.rest());
  if (address.ok()) {
    mqd::server::IsLoopback(address->host);
    const std::string text(input.rest());
    MQD_ASSERT(text.find(std::to_string(address->port)) != std::string::npos ||
               text.find(":0") != std::string::npos);
  }
  return 0;
}
