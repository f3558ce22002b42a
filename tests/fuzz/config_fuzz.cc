// A configuration file, or the values of flags and variables, with any text.
#include "proto/base/assert.h"
#include "server/config.h"
#include "server/config_keys.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/temporary_directory.h"

namespace {

/// What a key was set to is what its text says, and so again.
void CheckValue(const mqd::server::ConfigKey& key, std::string_view text) {
  mqd::server::Config config;
  if (!mqd::server::SetConfigValue(key, text, config).ok()) return;
  const std::string written = mqd::server::ConfigValueText(key, config);
  mqd::server::Config again;
  MQD_ASSERT(mqd::server::SetConfigValue(key, written, again).ok());
  MQD_ASSERT(mqd::server::ConfigValueText(key, again) == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const mqd::test::TemporaryDirectory directory;
  const mqd::fuzz::Input input(data, size);
  for (const mqd::server::ConfigKey& key : mqd::server::ConfigKeys()) {
    CheckValue(key, input.rest());
  }
  const std::string file = directory.path("mqd.toml");
  mqd::test::WriteFile(file, input.rest());
  const auto config = mqd::server::LoadConfig({.file = file});
  if (!config.ok()) {
    MQD_ASSERT(!config.status().message().empty());
    return 0;
  }
  MQD_ASSERT(mqd::server::DiffConfig(*config, *config).empty());
  return 0;
}
