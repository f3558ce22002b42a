#pragma once

// small_volume.h: the machine's file system, on a volume that has as much free space as a test
// says.
//
// Threads: any.

#include <atomic>
#include <cstdint>
#include <string>

#include "rocksdb/file_system.h"

namespace mqd::storage {

class SmallVolume final : public rocksdb::FileSystemWrapper {
 public:
  explicit SmallVolume(std::uint64_t free_bytes)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), free_bytes_(free_bytes) {}

  const char* Name() const override { return "SmallVolume"; }
  rocksdb::IOStatus GetFreeSpace(const std::string&, const rocksdb::IOOptions&,
                                 std::uint64_t* free_bytes, rocksdb::IODebugContext*) override {
    *free_bytes = free_bytes_;
    return rocksdb::IOStatus::OK();
  }

  void SetFree(std::uint64_t free_bytes) { free_bytes_ = free_bytes; }

 private:
  std::atomic<std::uint64_t> free_bytes_;
};

}  // namespace mqd::storage
