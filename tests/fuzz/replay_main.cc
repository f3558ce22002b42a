// The main of a fuzz target without libFuzzer: replay CORPUS RUNS. Every file of the directory
// CORPUS, then RUNS mutations of them from a fixed seed. An input that ends the process is printed
// in hex; MQD_FUZZ_SEED gives another seed.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/figures.h"

namespace mqd::fuzz {
namespace {

using Random = std::mt19937_64;

constexpr std::size_t kInputBytesMax = 4096;

std::string current_input;

void PrintInput(int signal) {
  std::fprintf(stderr, "signal %d at this input of %zu bytes:\n", signal, current_input.size());
  for (const char byte : current_input) {
    std::fprintf(stderr, "%02x", static_cast<unsigned char>(byte));
  }
  std::fputc('\n', stderr);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void Run(std::string input) {
  current_input = std::move(input);
  // A copy of its exact size, so that a sanitizer sees one byte too far.
  const std::vector<std::uint8_t> bytes(current_input.begin(), current_input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

char TellingByte(Random& random) {
  static constexpr char kTelling[] = {'\x00', '\x01', '\x02', '\x7a', '\x7f', '\x80', '\xff'};
  return random() % 2 ? kTelling[random() % sizeof kTelling] : static_cast<char>(random());
}

/// Changes, cuts, doubles or inserts a few bytes, or puts in some of another input.
std::string Mutated(std::string input, const std::string& other, Random& random) {
  for (std::uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const std::size_t at = input.empty() ? 0 : random() % input.size();
    switch (input.empty() ? 0 : random() % 6) {
      case 0:
        input.insert(at, 1, TellingByte(random));
        break;
      case 1:
        input.erase(at, 1 + random() % 8);
        break;
      case 2:
        input.insert(at, input.substr(at, random() % 16));
        break;
      case 3:
        if (!other.empty()) input.insert(at, other.substr(random() % other.size(), random() % 32));
        break;
      case 4:
        input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      default:
        input[at] = TellingByte(random);
    }
  }
  if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
  return input;
}

std::vector<std::string> ReadCorpus(const std::string& directory) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) inputs.push_back(ReadInput(path));
  return inputs;
}

int Main(const std::string& directory, std::uint64_t runs) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, PrintInput);
  const char* seed = std::getenv("MQD_FUZZ_SEED");
  Random random(seed != nullptr ? std::strtoull(seed, nullptr, 10) : 1);
  std::vector<std::string> inputs = ReadCorpus(directory);
  if (inputs.empty()) {
    std::fprintf(stderr, "%s has no input\n", directory.c_str());
    return 1;
  }
  for (const std::string& input : inputs) Run(input);
  for (std::uint64_t i = 0; i < runs; ++i) {
    const std::string& input = inputs[random() % inputs.size()];
    Run(Mutated(input, inputs[random() % inputs.size()], random));
  }
  mqd::testing::AddFigure({.promise = "R19", .trials = inputs.size() + runs});
  std::printf("%zu inputs and %llu mutations\n", inputs.size(),
              static_cast<unsigned long long>(runs));
  return 0;
}

}  // namespace
}  // namespace mqd::fuzz

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s CORPUS RUNS\n", argv[0]);
    return 64;
  }
  return mqd::fuzz::Main(argv[1], std::strtoull(argv[2], nullptr, 10));
}
