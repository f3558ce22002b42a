#include "tests/support/temporary_directory.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "proto/base/assert.h"

namespace mqd::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "mqd-test-XXXXXX";
  MQD_ASSERT(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string TemporaryDirectory::path(std::string_view name) const {
  return std::filesystem::path(path_) / name;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  MQD_ASSERT(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteFile(const std::string& path, std::string_view contents) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  MQD_ASSERT(file.flush().good());
}

void DamageFile(const std::string& path, long offset) {
  std::string contents = ReadFile(path);
  const std::size_t at = offset < 0 ? contents.size() - static_cast<std::size_t>(-offset)
                                    : static_cast<std::size_t>(offset);
  MQD_ASSERT(at < contents.size());
  contents[at] = static_cast<char>(contents[at] ^ 1);
  WriteFile(path, contents);
}

}  // namespace mqd::test
