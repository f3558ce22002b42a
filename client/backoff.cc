#include "client/backoff.h"

#include <algorithm>
#include <cmath>

namespace mqd::client {

std::chrono::milliseconds Backoff::Next(double random) {
  const double grown = static_cast<double>(settings_.initial.count()) *
                       std::pow(settings_.multiplier, std::min(failures_, 64));
  const double bounded = std::min(grown, static_cast<double>(settings_.max.count()));
  ++failures_;
  const double moved = bounded * (1.0 + settings_.jitter * (2.0 * random - 1.0));
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::max(moved, 1.0)));
}

}  // namespace mqd::client
