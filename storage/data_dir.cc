#include "storage/data_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace mqd::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReady = "ready";
constexpr std::string_view kInitialising = "initialising";

absl::Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    const fs::path parent = fs::absolute(path).parent_path();
    return SyncDirectory(parent);
  }
  if (errno != EEXIST) {
    absl::Status status = ErrnoStatus(errno, "make the data directory", path);
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(),
                     "; make its parent, give this user the right to write there, or choose "
                     "another --data"));
  }
  struct stat about;
  if (::stat(path.c_str(), &about) != 0) return ErrnoStatus(errno, "look at", path);
  if (!S_ISDIR(about.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the data directory ", path, " is a file; choose another --data"));
  }
  return absl::OkStatus();
}

absl::Status HeldByAnother(const std::string& path, const File& lock) {
  absl::StatusOr<std::string> holder = lock.ReadAt(32, 0);
  const std::string pid = holder.ok() ? std::string(absl::StripAsciiWhitespace(*holder)) : "?";
  return absl::UnavailableError(
      absl::StrCat("the data directory ", path, " is in use by process ", pid,
                   "; stop that process, or give this one another --data"));
}

absl::StatusOr<File> TakeLock(const std::string& path) {
  absl::StatusOr<File> lock = File::Open(path + "/LOCK", O_RDWR | O_CREAT);
  if (!lock.ok()) {
    return absl::Status(
        lock.status().code(),
        absl::StrCat("the data directory ", path, " cannot be written: ", lock.status().message(),
                     "; give this user the right to write there, or choose "
                     "another --data"));
  }
  if (::flock(lock->descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return HeldByAnother(path, *lock);
    return ErrnoStatus(errno, "lock", lock->path());
  }
  if (::ftruncate(lock->descriptor(), 0) != 0) return ErrnoStatus(errno, "write", lock->path());
  if (absl::Status status = lock->WriteAt(absl::StrCat(::getpid(), "\n"), 0); !status.ok()) {
    return status;
  }
  return lock;
}

absl::StatusOr<std::string> RandomId() {
  char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
    return absl::InternalError("the kernel gave no random bytes");
  }
  return absl::BytesToHexString(absl::string_view(bytes, sizeof bytes));
}

bool IsId(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

absl::StatusOr<DataDir> DataDir::Open(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("the path of the data directory is empty");
  if (absl::Status status = MakeDirectory(path); !status.ok()) return status;
  absl::StatusOr<File> lock = TakeLock(path);
  if (!lock.ok()) return lock.status();
  DataDir directory(path, *std::move(lock));
  if (absl::Status status = directory.LoadFormat(); !status.ok()) return status;
  return directory;
}

absl::Status DataDir::MarkReady() {
  initialising_ = false;
  return WriteFormat();
}

absl::Status DataDir::LoadFormat() {
  absl::StatusOr<std::string> text = ReadSmallFile(path_ + "/FORMAT");
  if (text.ok()) return ParseFormat(*text);
  if (!absl::IsNotFound(text.status())) return text.status();
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename();
    if (name == "LOCK" || name == "lost+found" || name == "FORMAT.new") continue;
    return absl::FailedPreconditionError(
        absl::StrCat("the data directory ", path_, " has no FORMAT file but holds ", name,
                     "; choose an empty directory, or put back the FORMAT file from a backup"));
  }
  if (error) return ErrnoStatus(error.value(), "list", path_);
  return Initialise();
}

absl::Status DataDir::Initialise() {
  for (std::string* id : {&identity_.cluster, &identity_.node, &identity_.disk}) {
    absl::StatusOr<std::string> random = RandomId();
    if (!random.ok()) return random.status();
    *id = *std::move(random);
  }
  initialising_ = true;
  return WriteFormat();
}

// The first line is all that later formats must keep.
absl::Status DataDir::ParseFormat(std::string_view text) {
  const std::string first_line(text.substr(0, text.find('\n')));
  std::uint64_t version = 0;
  if (!first_line.starts_with("format ") || !absl::SimpleAtoi(first_line.substr(7), &version) ||
      version == 0) {
    return Damaged("its first line is not \"format <number>\"");
  }
  if (version > kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the data directory ", path_, " has format ", version,
                     " and this program knows formats up to ", kFormatVersion,
                     "; start the newer mqd that wrote it"));
  }
  std::map<std::string, std::string> fields;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(std::string(text), '\n', absl::SkipEmpty()))) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    fields.insert(field);
  }
  identity_ = {fields["cluster"], fields["node"], fields["disk"]};
  for (const std::string* id : {&identity_.cluster, &identity_.node, &identity_.disk}) {
    if (!IsId(*id)) return Damaged("cluster, node and disk are not 32 hex digits each");
  }
  if (fields["state"] != kReady && fields["state"] != kInitialising) {
    return Damaged("its state is neither ready nor initialising");
  }
  initialising_ = fields["state"] == kInitialising;
  return absl::OkStatus();
}

absl::Status DataDir::WriteFormat() const {
  return ReplaceFile(
      path_ + "/FORMAT",
      absl::StrCat("format ", kFormatVersion, "\nstate ",
                   std::string(initialising_ ? kInitialising : kReady), "\ncluster ",
                   identity_.cluster, "\nnode ", identity_.node, "\ndisk ", identity_.disk, "\n"));
}

absl::Status DataDir::Damaged(std::string_view what) const {
  return absl::DataLossError(absl::StrCat(path_, "/FORMAT is damaged: ", std::string(what),
                                          "; put it back from a backup of the data directory"));
}

}  // namespace mqd::storage
