// main.cc: the mqd process: command line, signals, exit codes. What it runs is in app.h.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "server/app.h"
#include "server/config.h"
#include "server/exit_code.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/signals.h"
#include "spdlog/spdlog.h"

namespace mqd::server {
namespace {

using std::chrono::milliseconds;

struct CommandLine {
  ConfigSources sources;
  bool check_config = false;
  bool print_reference = false;
  std::string port_file;
};

/// The process ends here and now: nothing that has been confirmed depends on a tidy end.
[[noreturn]] void ExitAtOnce(ExitCode code) {
  spdlog::default_logger()->flush();
  std::_Exit(static_cast<int>(code));
}

/// Empty when the process is to go on, else the exit code.
std::optional<int> ParseCommandLine(int argc, char** argv, CommandLine& out) {
  CLI::App cli("mqd: a message broker of named, bounded queues over gRPC", "mqd");
  cli.set_version_flag("--version", "mqd " MQD_VERSION);
  auto value = [&](const char* flag, const std::string& key, const char* type, const char* text) {
    const auto keep = [&out, key](const std::string& given) { out.sources.flags[key] = given; };
    cli.add_option_function<std::string>(flag, keep, text)->type_name(type);
  };
  value("--data", "data_dir", "DIR", "directory of the store; created when missing");
  value("--listen", "grpc.listen", "HOST:PORT", "gRPC port (127.0.0.1:6480)");
  value("--http-listen", "http.listen", "HOST:PORT|off", "HTTP port (127.0.0.1:6481)");
  value("--shutdown-grace", "shutdown_grace", "TIME", "for consumers to settle on SIGTERM (25s)");
  value("--log-format", "log.format", "text|json", "log format (text)");
  value("--log-level", "log.level", "LEVEL", "trace, debug, info, warning or error (info)");
  const auto insecure = [&out](std::int64_t) {
    out.sources.flags["grpc.insecure"] = out.sources.flags["http.insecure"] = "true";
  };
  cli.add_flag_function("--insecure-listen", insecure,
                        "allow addresses that other machines can reach, without TLS");
  cli.add_option("--config", out.sources.file, "TOML file; flags and MQD_... variables go first")
      ->type_name("FILE");
  cli.add_flag("--check-config", out.check_config, "check the configuration and exit");
  cli.add_flag("--config-reference", out.print_reference, "print every key of the file and exit");
  cli.add_option("--port-file", out.port_file, "write the gRPC port there once it is open")
      ->type_name("FILE");
  cli.footer(
      "SIGTERM and SIGINT drain, a second one exits at once; SIGHUP reads the configuration "
      "again.\n"
      "Exit codes: 0 ok, 64 usage, 69 address, 70 internal, 73 data directory, 74 store, 78 "
      "configuration.");
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return std::nullopt;
}

void PrintErrors(const absl::Status& status) {
  for (const auto line : absl::StrSplit(status.message(), '\n')) {
    std::cerr << "mqd: " << EscapeControls(std::string(line)) << '\n';
  }
}

/// Readers see the whole port or no file.
absl::Status WritePortFile(const std::string& path, int port) {
  const std::string draft = fmt::format("{}.{}", path, getpid());
  std::error_code failed;
  if (std::ofstream file(draft); !(file << port << '\n' << std::flush)) {
    failed = std::make_error_code(std::errc::io_error);
  } else {
    std::filesystem::rename(draft, path, failed);
  }
  if (!failed) return absl::OkStatus();
  return WithExitCode(
      absl::UnavailableError(fmt::format("cannot write {}: {}", path, failed.message())),
      ExitCode::kCannotCreate);
}

/// The daemon from start to end, as the main thread sees it.
class Daemon {
 public:
  Daemon(CommandLine command_line, Config config)
      : command_line_(std::move(command_line)), config_(std::move(config)) {}

  ExitCode Run();

 private:
  absl::Status Start();
  void Announce();
  void Reload();
  ExitCode DrainAndStop();
  [[noreturn]] void ExitFatally();
  void OnFatal(absl::Status status);

  CommandLine command_line_;
  Config config_;
  Signals signals_;
  std::unique_ptr<App> app_;
  std::atomic<bool> fatal_ = false;
  absl::Status fatal_status_;  // written once, before fatal_
};

ExitCode Daemon::Run() {
  spdlog::info("mqd {} starting, data in {}", MQD_VERSION, config_.data_dir);
  if (const absl::Status started = Start(); !started.ok()) {
    spdlog::error("cannot start: {}", std::string(started.message()));
    return ExitCodeOf(started);
  }
  Announce();
  const std::optional<milliseconds> watchdog = WatchdogTimeout();
  const std::optional<milliseconds> tick = watchdog ? std::optional(*watchdog / 3) : std::nullopt;
  while (true) {
    const Wakeup wakeup = signals_.Wait(tick);
    if (fatal_.load(std::memory_order_acquire)) ExitFatally();
    if (watchdog && app_->Responsive()) NotifyWatchdog();
    if (wakeup == Wakeup::kReload) Reload();
    if (wakeup == Wakeup::kStop) return DrainAndStop();
  }
}

absl::Status Daemon::Start() {
  absl::StatusOr<std::unique_ptr<App>> started = absl::UnknownError("not started");
  {
    BackgroundWork starting(signals_, [this, &started] {
      started = App::Start(config_, [this](absl::Status status) { OnFatal(std::move(status)); });
    });
    while (!starting.done()) {
      NotifyStarting("recovering", std::chrono::seconds(30));
      // Nothing has been promised to anyone yet.
      if (signals_.Wait(std::chrono::seconds(10)) == Wakeup::kStop) ExitAtOnce(ExitCode::kOk);
    }
  }
  if (!started.ok()) return started.status();
  app_ = *std::move(started);
  if (command_line_.port_file.empty()) return absl::OkStatus();
  return WritePortFile(command_line_.port_file, app_->port());
}

void Daemon::Announce() {
  spdlog::info("{}", app_->RecoverySummary());
  if (config_.grpc.insecure) {
    spdlog::warn("insecure: whoever reaches {} can do everything", config_.grpc.listen);
  }
  const std::string http =
      app_->http_port() == 0 ? "off" : fmt::format("port {}", app_->http_port());
  spdlog::info("ready: gRPC on port {} ({}), HTTP {}", app_->port(), config_.grpc.listen, http);
  NotifyReady(fmt::format("serving gRPC on port {}", app_->port()));
}

void Daemon::Reload() {
  NotifyReloading();
  const absl::StatusOr<Config> wanted = LoadConfig(command_line_.sources);
  if (!wanted.ok()) {
    spdlog::error("reload refused, nothing changed: {}", std::string(wanted.status().message()));
  } else {
    for (const ConfigChange& change : DiffConfig(config_, *wanted)) {
      if (change.reloadable) {
        spdlog::info("reload: {} changed", change.key);
      } else {
        spdlog::warn("reload: {} changed in the file and needs a restart", change.key);
      }
    }
    config_ = ApplyReloadable(config_, *wanted);
    SetUpLog(config_.log.format, config_.log.level);
    app_->Reload(config_);
    spdlog::info("reload done");
  }
  NotifyReady(fmt::format("serving gRPC on port {}", app_->port()));
}

ExitCode Daemon::DrainAndStop() {
  spdlog::info("draining for up to {} ms; a second signal exits at once",
               config_.shutdown_grace.count());
  NotifyStopping(config_.shutdown_grace);
  {
    BackgroundWork draining(signals_, [this] {
      app_->Drain(config_.shutdown_grace);
      app_.reset();
    });
    while (!draining.done()) {
      if (signals_.Wait() == Wakeup::kStop) {
        spdlog::warn("second signal: exiting at once");
        ExitAtOnce(ExitCode::kInterrupted);
      }
      if (fatal_.load(std::memory_order_acquire)) ExitFatally();
    }
  }
  spdlog::info("stopped");
  return ExitCode::kOk;
}

void Daemon::OnFatal(absl::Status status) {
  fatal_status_ = std::move(status);
  fatal_.store(true, std::memory_order_release);
  signals_.Wake();
}

void Daemon::ExitFatally() {
  spdlog::error("the store failed, ending: {}", std::string(fatal_status_.message()));
  const ExitCode code = ExitCodeOf(fatal_status_);
  ExitAtOnce(code == ExitCode::kOk ? ExitCode::kStoreError : code);
}

int Main(int argc, char** argv) {
  CommandLine command_line;
  if (const std::optional<int> code = ParseCommandLine(argc, argv, command_line)) return *code;
  if (command_line.print_reference) {
    std::cout << ConfigReference();
    return static_cast<int>(ExitCode::kOk);
  }
  command_line.sources.environment = ConfigEnvironment();
  absl::StatusOr<Config> config = LoadConfig(command_line.sources);
  if (!config.ok()) {
    PrintErrors(config.status());
    return static_cast<int>(ExitCode::kConfig);
  }
  if (command_line.check_config) {
    std::cout << "OK\n";
    return static_cast<int>(ExitCode::kOk);
  }
  SetUpLog(config->log.format, config->log.level);
  return static_cast<int>(Daemon(std::move(command_line), *std::move(config)).Run());
}

}  // namespace
}  // namespace mqd::server

int main(int argc, char** argv) { return mqd::server::Main(argc, argv); }
