#include "server/notify.h"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <cstdint>
#include <string>

#include "fmt/format.h"
#include "server/log.h"

namespace mqd::server {
namespace {

void Send(const std::string& state) {
  // Nobody could be told of a failure but the one who does not listen.
  static_cast<void>(sd_notify(0, state.c_str()));
}

std::int64_t MonotonicMicroseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

void NotifyReady(std::string_view status) {
  Send(fmt::format("READY=1\nSTATUS={}", EscapeControls(status)));
}

void NotifyReloading() {
  Send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", MonotonicMicroseconds()));
}

void NotifyStopping(std::chrono::milliseconds grace) {
  const auto allowed = std::chrono::microseconds(grace + std::chrono::seconds(10));
  Send(fmt::format("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={}", allowed.count()));
}

void NotifyStarting(std::string_view status, std::chrono::milliseconds extension) {
  Send(fmt::format("STATUS={}\nEXTEND_TIMEOUT_USEC={}", EscapeControls(status),
                   std::chrono::microseconds(extension).count()));
}

void NotifyWatchdog() { Send("WATCHDOG=1"); }

std::optional<std::chrono::milliseconds> WatchdogTimeout() {
  std::uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) <= 0) return std::nullopt;
  return std::chrono::milliseconds(microseconds / 1000);
}

}  // namespace mqd::server
