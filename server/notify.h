#pragma once

// notify.h: tells systemd how the process is doing (sd_notify). Without systemd every call does
// nothing.
//
// Threads: any.

#include <chrono>
#include <optional>
#include <string_view>

namespace mqd::server {

/// READY=1 with a line for `systemctl status`: recovery is done and the ports are open. Also ends a
/// reload.
void NotifyReady(std::string_view status);

/// RELOADING=1 with MONOTONIC_USEC, which Type=notify-reload of newer systemds needs. NotifyReady()
/// must follow.
void NotifyReloading();

/// STOPPING=1, and that stopping may take `grace` and a little more.
void NotifyStopping(std::chrono::milliseconds grace);

/// A line for `systemctl status`, and that starting may take another `extension`.
void NotifyStarting(std::string_view status, std::chrono::milliseconds extension);

/// WATCHDOG=1: call only when the daemon has been seen to make progress.
void NotifyWatchdog();

/// How often systemd expects NotifyWatchdog() at the latest; nothing when it has no watchdog for
/// this process.
std::optional<std::chrono::milliseconds> WatchdogTimeout();

}  // namespace mqd::server
