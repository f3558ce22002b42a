// test_daemon.cc: what makes mqd_test_daemon of mqd: the same objects, but the store is opened on a
// file system whose power can be cut. The linker puts the function below in the place of
// RocksStore::Open (--wrap).
//
// MQD_TEST_CUT says when: "operation N" of the file system, or "ms N" after the store was opened;
// without it, never. MQD_TEST_REMAINS is what is left of bytes and of entries, as their numbers.
// The process ends by SIGKILL, when its files are what the power cut has left.

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "storage/rocks_file_system.h"
#include "tests/support/crash_file_system.h"

namespace mqd::crash {
namespace {

using test::CrashFileSystem;

std::istringstream Variable(const char* name) {
  const char* value = std::getenv(name);
  return std::istringstream(value == nullptr ? "" : value);
}

test::Remains RemainsAskedFor() {
  int bytes = 0;
  int entries = 0;
  Variable("MQD_TEST_REMAINS") >> bytes >> entries;
  return {static_cast<test::Bytes>(bytes), static_cast<test::Entries>(entries)};
}

void CutLater(std::shared_ptr<CrashFileSystem> files, std::chrono::milliseconds time) {
  std::thread([files = std::move(files), time] {
    std::promise<void> never;
    never.get_future().wait_for(time);
    files->CutNow();
  }).detach();
}

std::shared_ptr<CrashFileSystem> MakeFileSystem(const std::string& data_dir) {
  const std::string attic = data_dir + ".attic";
  std::filesystem::remove_all(attic);
  std::filesystem::create_directories(attic);
  auto files = std::make_shared<CrashFileSystem>(data_dir + "/db", attic);
  std::string unit;
  std::uint64_t count = 0;
  Variable("MQD_TEST_CUT") >> unit >> count;
  const auto end = [] { kill(getpid(), SIGKILL); };
  const bool timed = unit == "ms";
  files->CutAt(unit == "operation" ? count : UINT64_MAX, RemainsAskedFor(), count, end);
  if (timed) CutLater(files, std::chrono::milliseconds(count));
  return files;
}

}  // namespace
}  // namespace mqd::crash

extern "C" absl::StatusOr<std::unique_ptr<mqd::storage::RocksStore>>
__wrap__ZN3mqd7storage10RocksStore4OpenENS1_7OptionsE(mqd::storage::RocksStore::Options options) {
  auto files = mqd::crash::MakeFileSystem(options.data_dir);
  return mqd::storage::RocksStoreOpener::Open(std::move(options), std::move(files));
}
