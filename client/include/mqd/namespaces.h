#pragma once

// namespaces.h: what a namespace is and may hold. A namespace needs no creation: one that was not
// created has no quotas.
//
// Threads:   values; any.
// Limits:    names are [A-Za-z0-9][A-Za-z0-9._-]{0,127}; pages of 1,000.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mqd/queue.h"

namespace mqd {

/// One that is not set is unlimited at creation and left alone by an update.
struct NamespaceQuotas {
  std::optional<Limit> max_queues = {};
  std::optional<Limit> max_messages = {};  // over all queues, in every state
  std::optional<Limit> max_bytes = {};
};

struct Namespace {
  std::string name = {};
  NamespaceQuotas quotas = {};
  std::optional<WallTime> create_time = {};  // nothing when it was never created
  std::uint64_t queues = 0;
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

struct CreatedNamespace {
  Namespace name_space = {};
  bool created = false;  // false: it was there with equal quotas
};

struct NamespacePage {
  std::vector<Namespace> namespaces = {};  // by name: created ones, and those that have queues
  std::string next_page_token = {};        // empty on the last page
};

}  // namespace mqd
