#pragma once

// temporary_directory.h: a directory of a test's own.
//
// Threads: one at a time.
// Ownership: Removes the directory and all below it when destroyed.

#include <string>
#include <string_view>

namespace mqd::test {

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  /// Of something inside; does not make it.
  std::string path(std::string_view name) const;

 private:
  std::string path_;
};

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, std::string_view contents);
/// Turns over the lowest bit of the byte at `offset`, counted from the end when negative.
void DamageFile(const std::string& path, long offset);

}  // namespace mqd::test
