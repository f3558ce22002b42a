#include "server/signals.h"

#include <pthread.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "proto/base/assert.h"

namespace mqd::server {
namespace {

constexpr int kWakeSignal = SIGUSR1;

}  // namespace

Signals::Signals() : main_thread_(pthread_self()) {
  sigemptyset(&handled_);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, kWakeSignal}) sigaddset(&handled_, number);
  MQD_ASSERT(pthread_sigmask(SIG_BLOCK, &handled_, nullptr) == 0);
  // A peer that has gone is an error of the write, not the end of the process.
  signal(SIGPIPE, SIG_IGN);
}

Wakeup Signals::Wait(std::optional<std::chrono::milliseconds> timeout) {
  const std::int64_t milliseconds = timeout ? timeout->count() : 0;
  const timespec limit = {.tv_sec = milliseconds / 1000,
                          .tv_nsec = (milliseconds % 1000) * 1'000'000};
  while (true) {
    const int number =
        timeout ? sigtimedwait(&handled_, nullptr, &limit) : sigwaitinfo(&handled_, nullptr);
    if (number == SIGTERM || number == SIGINT) return Wakeup::kStop;
    if (number == SIGHUP) return Wakeup::kReload;
    if (number == kWakeSignal) return Wakeup::kWoken;
    if (errno == EAGAIN) return Wakeup::kTimeout;
    MQD_ASSERT(errno == EINTR);
  }
}

void Signals::Wake() { pthread_kill(main_thread_, kWakeSignal); }

BackgroundWork::BackgroundWork(Signals& signals, std::function<void()> work)
    : thread_([this, &signals, work = std::move(work)] {
        work();
        done_.store(true, std::memory_order_release);
        signals.Wake();
      }) {}

}  // namespace mqd::server
