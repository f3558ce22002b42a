// Whatever bytes lie on the disk: a decoder answers with a record or an error, reads nothing that
// is not its own, and never takes two different values for the same record.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "absl/strings/escaping.h"
#include "storage/body.h"
#include "storage/byte_codec.h"
#include "tests/unit/storage/golden_records.h"

namespace mqd::storage {
namespace {

constexpr std::uint64_t kSeed = 20231;
constexpr int kRounds = 20'000;  // of each kind of record

/// Lends bytes that end where the process may not read on.
class GuardedPage {
 public:
  GuardedPage() {
    size_ = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* pages =
        ::mmap(nullptr, 2 * size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(pages, MAP_FAILED);
    begin_ = static_cast<char*>(pages);
    EXPECT_EQ(::mprotect(begin_ + size_, size_, PROT_NONE), 0);
  }
  ~GuardedPage() { ::munmap(begin_, 2 * size_); }

  std::string_view Lend(std::string_view bytes) {
    EXPECT_LE(bytes.size(), size_);
    char* at = begin_ + size_ - bytes.size();
    std::memcpy(at, bytes.data(), bytes.size());
    return {at, bytes.size()};
  }

 private:
  std::size_t size_ = 0;
  char* begin_ = nullptr;
};

using Random = std::mt19937_64;

std::string RandomBytes(Random& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

/// Changes, cuts, doubles or inserts a few bytes of `value`, mostly at places that count.
std::string Mutated(Random& random, std::string value) {
  static constexpr char kTelling[] = {'\x00', '\x01', '\x7f', '\x80', '\xff', '\x02'};
  for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const std::size_t at = value.empty() ? 0 : random() % value.size();
    const char byte =
        random() % 2 ? kTelling[random() % sizeof kTelling] : static_cast<char>(random());
    switch (random() % 5) {
      case 0:
        value.insert(at, 1, byte);
        break;
      case 1:
        if (!value.empty()) value.erase(at, 1 + random() % 3);
        break;
      case 2:
        value.insert(at, value.substr(at, random() % 8));
        break;
      default:
        if (!value.empty()) value[at] = byte;
    }
  }
  return value;
}

class RecordGarbageTest : public ::testing::TestWithParam<GoldenRecord> {
 protected:
  /// Whether it was accepted. A value of an older version comes back in the newest one.
  bool Try(const std::string& bytes) {
    const absl::StatusOr<std::string> again = GetParam().recode(page_.Lend(bytes));
    if (!again.ok()) return false;
    if (bytes[0] != GetParam().encoded[0]) {
      const absl::StatusOr<std::string> newest = GetParam().recode(page_.Lend(*again));
      EXPECT_TRUE(newest.ok() && *newest == *again) << "seed " << kSeed;
      return true;
    }
    EXPECT_EQ(absl::BytesToHexString(*again), absl::BytesToHexString(bytes)) << "seed " << kSeed;
    return true;
  }

  Random random_{kSeed};
  GuardedPage page_;
};

INSTANTIATE_TEST_SUITE_P(EveryKind, RecordGarbageTest,
                         ::testing::ValuesIn(GoldenRecordsOfEveryVersion()),
                         [](const auto& kind) { return kind.param.name; });

TEST_P(RecordGarbageTest, UnsealedBytesAreNeverARecord) {
  for (int round = 0; round < kRounds; ++round) {
    const std::string bytes =
        random_() % 2 ? RandomBytes(random_, random_() % 200) : Mutated(random_, GetParam().bytes);
    if (bytes == GetParam().bytes) continue;
    ASSERT_FALSE(Try(bytes)) << "seed " << kSeed << " round " << round;
  }
}

// With a good checksum the fields themselves are all that stands between garbage and a record.
TEST_P(RecordGarbageTest, SealedGarbageIsRefusedOrIsARecordOfExactlyTheseBytes) {
  int accepted = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::string_view fields(GetParam().bytes.data(),
                                  GetParam().bytes.size() - kChecksumBytes);
    std::string bytes = random_() % 4 ? Mutated(random_, std::string(fields))
                                      : GetParam().bytes[0] + RandomBytes(random_, random_() % 60);
    AppendChecksum(bytes);
    accepted += Try(bytes);
    ASSERT_FALSE(HasFailure()) << "seed " << kSeed << " round " << round;
  }
  EXPECT_GT(accepted, 0) << "nothing got as far as the fields";
}

TEST(BodyGarbageTest, SealedGarbageIsRefusedOrItsElementsAreItsBytes) {
  Random random(kSeed);
  Body::Builder builder;
  for (const char* element : {"\x7a\x01x", "\x7a\x03yyy", "\x7a\x02zz"}) builder.Append(element);
  const std::string good(std::move(builder).Finish()->encoded());
  int accepted = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes = random() % 4 ? Mutated(random, good.substr(0, good.size() - 8))
                                     : RandomBytes(random, random() % 60);
    AppendChecksum(bytes);
    const auto body = Body::Decode(bytes);
    if (!body.ok()) continue;
    ++accepted;
    std::string elements;
    for (std::size_t i = 0; i < (*body)->count(); ++i) elements += (*body)->Element(i);
    ASSERT_EQ((*body)->Elements(0, (*body)->count()), elements) << "seed " << kSeed;
    ASSERT_TRUE(bytes.starts_with(elements)) << "seed " << kSeed << " round " << round;
    ASSERT_EQ(elements.size() + 4 * (*body)->count() + 13, bytes.size()) << "round " << round;
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace mqd::storage
