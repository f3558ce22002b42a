#pragma once

// crash_state.h: what of the files of one directory was written, what of it was synced, and what a
// power cut leaves.
//
// Threads: a plain value. A copy is the state at that moment, for a cut that is done later.
// Ownership: the bytes are not in it but in the attic: a directory with a hard link to each file,
//            by inode, so that neither a rename nor a deletion takes them away.
// Limits: files only grow. One directory, without others in it.

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace mqd::test {

/// What is left of the bytes behind the last sync of a file.
enum class Bytes : std::uint8_t {
  kSynced,   // nothing
  kPrefix,   // a part from the front
  kPages,    // random pages; in place of the others are zeroes
  kTorn,     // a part from the front, of whose last page sectors are zeroes or garbage
  kWritten,  // all
};

/// What is left of the entries made, renamed and deleted since the last sync of the directory.
enum class Entries : std::uint8_t {
  kSynced,   // nothing
  kPrefix,   // the older ones
  kWritten,  // all
};

struct Remains {
  Bytes bytes = Bytes::kSynced;
  Entries entries = Entries::kSynced;
};

/// The process ends and the machine runs on: nothing is lost.
inline constexpr Remains kProcessEnd{Bytes::kWritten, Entries::kWritten};

class CrashState {
 public:
  using Inode = std::size_t;
  using Random = std::mt19937_64;

  /// A file that counts as durable.
  Inode Adopt(const std::string& name, std::uint64_t size);
  /// A new, empty file, also in the place of another.
  Inode Make(const std::string& name);
  void Rename(const std::string& from, const std::string& to);
  void Remove(const std::string& name);
  void SyncDirectory();

  void Append(Inode inode, std::uint64_t bytes) { extents_[inode].written += bytes; }
  void Truncate(Inode inode, std::uint64_t size);
  void Sync(Inode inode) { extents_[inode].synced = extents_[inode].written; }

  bool Has(const std::string& name) const { return names_.contains(name); }

  /// Makes the directory `target`, as the next start finds it.
  void Materialise(const std::string& attic, Remains remains, Random& random,
                   const std::string& target) const;

 private:
  using Names = std::map<std::string, Inode>;

  struct Extent {
    std::uint64_t written = 0;
    std::uint64_t synced = 0;
  };

  /// One change of the directory; a rename is both at once.
  struct Change {
    std::string removed;
    std::string added;
    Inode inode = 0;  // of `added`
  };

  void Do(Change change);
  static void Apply(const Change& change, Names& names);

  Names names_;                  // as the process sees them
  Names durable_;                // at the last sync of the directory
  std::vector<Change> changes_;  // since then
  std::vector<Extent> extents_;  // by inode
};

}  // namespace mqd::test
