#pragma once

// nemesis.h: a family of faults that a run picks from. One file a family: nemesis_NAME.cc.
//
// Threads:   that of the Scene.
// Ownership: a nemesis keeps no reference to a Scene.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/crash/checker.h"
#include "tests/crash/scene.h"

namespace mqd::crash {

class Nemesis {
 public:
  virtual ~Nemesis() = default;

  /// Before the daemon is started first.
  virtual absl::Status Prepare(Scene&) { return absl::OkStatus(); }

  /// Whether clients are to go through Scene::proxy.
  virtual bool uses_proxy() const { return false; }

  /// One fault, until the daemon serves again. An error: the daemon is of no more use.
  virtual absl::Status Strike(Scene& scene) = 0;

  /// Before clients are asked to end.
  virtual void Finish(Scene&) {}

  /// The promise that it is about, "R16", with its count of trials; empty: the report says it all.
  virtual std::string promise() const { return ""; }
  virtual std::uint64_t trials() const { return 0; }
};

/// How much of a nemesis a run has when nothing else is asked for.
struct NemesisSize {
  std::uint64_t strikes;
  std::uint64_t messages;    // confirmed
  std::uint64_t per_second;  // publishes
};

struct NemesisKind {
  const char* name;
  const char* what;
  NemesisSize size;
  std::unique_ptr<Nemesis> (*make)();
};

const std::vector<NemesisKind>& AllNemeses();
/// Null when there is none of this name.
const NemesisKind* FindNemesis(const std::string& name);

std::unique_ptr<Nemesis> MakeKill();
std::unique_ptr<Nemesis> MakeNetwork();
std::unique_ptr<Nemesis> MakePause();
std::unique_ptr<Nemesis> MakeRecovery();
std::unique_ptr<Nemesis> MakeShutdown();
std::unique_ptr<Nemesis> MakeConsumers();
std::unique_ptr<Nemesis> MakeDescriptors();
std::unique_ptr<Nemesis> MakeClock();
std::unique_ptr<Nemesis> MakePower();

}  // namespace mqd::crash
