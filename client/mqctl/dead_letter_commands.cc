// dead_letter_commands.cc: dlq ...: what is in a dead-letter queue, why, and moving it back.

#include <unistd.h>

#include <iostream>
#include <thread>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

constexpr std::size_t kTextWidth = 60;
constexpr std::uint32_t kPeekMax = 100;

/// How often a redrive is asked how far it is; off a terminal a line is printed only every 10 s.
constexpr std::chrono::milliseconds kPoll{200};
constexpr int kPollsALine = 50;

struct DeadLetterArguments {
  std::string queue;
  std::uint64_t sequence = 0;
  std::uint64_t limit = 100;
  std::uint64_t from = 0;
  std::string task;
  std::string before;
  std::string after;
  std::uint64_t rate = 0;
  bool wait = false;
  RedriveOptions redrive;
};

// ---- looking

absl::StatusOr<std::vector<PeekedMessage>> PeekAll(Admin& admin,
                                                   const DeadLetterArguments& arguments) {
  std::vector<PeekedMessage> all;
  PeekOptions options{.from_sequence = arguments.from};
  while (all.size() < arguments.limit) {
    options.limit =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kPeekMax, arguments.limit - all.size()));
    auto page = admin.PeekMessages(arguments.queue, options);
    if (!page.ok()) return page.status();
    for (PeekedMessage& message : *page) all.push_back(std::move(message));
    if (page->size() < options.limit) break;
    options.from_sequence = all.back().sequence + 1;
  }
  return all;
}

std::vector<std::string> RowOf(const PeekedMessage& message) {
  const DeadLetterInfo info = message.dead_letter.value_or(DeadLetterInfo{.queue = "-"});
  const AttemptNote last = info.notes.empty() ? AttemptNote{} : info.notes.back();
  const std::string origin =
      info.sequence == 0 ? info.queue : info.queue + ":" + std::to_string(info.sequence);
  return {std::to_string(message.sequence),
          StatusName(message.status),
          origin,
          OneLine(info.reason, kTextWidth),
          std::to_string(info.attempts),
          message.dead_letter ? FormatTime(info.time) : "-",
          last.consumer.empty() ? "-" : last.consumer,
          OneLine(last.error, kTextWidth)};
}

absl::Status List(const Globals& globals, const DeadLetterArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto messages = PeekAll(admin, arguments);
    if (!messages.ok()) return messages.status();
    Json out = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const PeekedMessage& message : *messages) {
      out.push_back(PeekedToJson(message));
      rows.push_back(RowOf(message));
    }
    if (globals.json()) {
      PrintJson(out);
      return absl::OkStatus();
    }
    PrintTable({{"SEQUENCE", true},
                {"STATE"},
                {"ORIGIN"},
                {"REASON"},
                {"ATTEMPTS", true},
                {"SINCE"},
                {"LAST_CONSUMER"},
                {"LAST_ERROR"}},
               rows);
    return absl::OkStatus();
  });
}

void PrintNotes(const std::vector<AttemptNote>& notes) {
  std::vector<std::vector<std::string>> rows;
  for (const AttemptNote& note : notes) {
    rows.push_back(
        {std::to_string(note.attempt), FormatTime(note.time), note.consumer, note.error});
  }
  if (!rows.empty()) PrintTable({{"ATTEMPT", true}, {"TIME"}, {"CONSUMER"}, {"ERROR"}}, rows);
}

absl::Status Why(const Globals& globals, const DeadLetterArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto message = admin.FindMessage(arguments.queue, arguments.sequence);
    if (!message.ok()) return message.status();
    if (globals.json()) {
      PrintJson(PeekedToJson(*message));
      return absl::OkStatus();
    }
    std::cout << "message " << message->sequence << " of " << arguments.queue << ", "
              << StatusName(message->status) << '\n';
    if (message->dead_letter) {
      const DeadLetterInfo& info = *message->dead_letter;
      std::cout << "origin    " << info.queue << " message " << info.sequence << "\nreason    "
                << info.reason << "\nmoved     " << FormatTime(info.time) << " after "
                << info.attempts << " attempts\n";
      PrintNotes(info.notes);
    } else {
      std::cout << "it came from no other queue\n";
    }
    PrintNotes(message->notes);
    std::cout << "payload   " << message->message.payload << '\n';
    return absl::OkStatus();
  });
}

// ---- moving back

std::string TargetOf(const Redrive& redrive) {
  return redrive.options.target.empty() ? "their origins" : redrive.options.target;
}

Json ToJson(const Redrive& redrive) {
  return {{"task_id", redrive.task_id},
          {"queue", redrive.queue},
          {"target", redrive.options.target},
          {"dry_run", redrive.options.dry_run},
          {"state", RedriveStateName(redrive.state)},
          {"matched", redrive.matched},
          {"moved", redrive.moved},
          {"skipped", redrive.skipped},
          {"start_time", FormatTime(redrive.start_time)},
          {"end_time", TimeToJson(redrive.end_time)},
          {"error", std::string(redrive.error.message())}};
}

/// Prints how it stands; the error that it ended with.
absl::Status Report(const Globals& globals, const Redrive& redrive) {
  if (globals.json()) {
    PrintJson(ToJson(redrive));
  } else if (!globals.quiet && redrive.options.dry_run && redrive.ended()) {
    std::cout << "would move " << redrive.matched << " messages from " << redrive.queue << " to "
              << TargetOf(redrive) << "; " << redrive.skipped << " skipped\n";
  } else if (!globals.quiet) {
    std::cout << redrive.task_id << ' ' << RedriveStateName(redrive.state) << ": matched "
              << redrive.matched << ", moved " << redrive.moved << ", skipped " << redrive.skipped
              << ", from " << redrive.queue << " to " << TargetOf(redrive) << '\n';
  }
  if (redrive.state != RedriveState::kFailed) return absl::OkStatus();
  return redrive.error.ok() ? absl::InternalError("the redrive failed") : redrive.error;
}

void PrintProgress(const Redrive& redrive, bool terminal) {
  std::cerr << (terminal ? "\r" : "") << "moved " << redrive.moved << " of " << redrive.matched;
  if (redrive.state == RedriveState::kWaiting) std::cerr << ", waits: " << redrive.error.message();
  std::cerr << (terminal ? "\x1b[K" : "\n") << std::flush;
}

absl::StatusOr<Redrive> WaitForEnd(const Globals& globals, Admin& admin, Redrive redrive) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  for (int polls = 1; !redrive.ended(); ++polls) {
    const bool print = !globals.quiet && (terminal || polls % kPollsALine == 0);
    if (print) PrintProgress(redrive, terminal);
    std::this_thread::sleep_for(kPoll);
    auto next = admin.GetRedrive(redrive.task_id);
    if (!next.ok()) return next.status();
    redrive = *std::move(next);
  }
  if (terminal && !globals.quiet) std::cerr << "\r\x1b[K";
  return redrive;
}

/// A time, or how long ago.
absl::StatusOr<std::optional<WallTime>> TimeOf(const std::string& flag, const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (const auto ago = ParseDuration(text); ago.ok()) {
    return std::chrono::system_clock::now() - *ago;
  }
  const auto time = ParseTime(text);
  if (time.ok()) return *time;
  return absl::InvalidArgumentError(flag + " " + std::string(time.status().message()) +
                                    ", or how long ago, as in 2h");
}

absl::Status StartRedrive(const Globals& globals, const DeadLetterArguments& arguments) {
  RedriveOptions options = arguments.redrive;
  const auto before = TimeOf("--before", arguments.before);
  if (!before.ok()) return before.status();
  const auto after = TimeOf("--after", arguments.after);
  if (!after.ok()) return after.status();
  options.filter.dead_lettered_before = *before;
  options.filter.dead_lettered_after = *after;
  if (arguments.rate > 0) options.max_rate = Limit::Of(arguments.rate);
  return WithAdmin(globals, [&](Admin& admin) {
    auto redrive = admin.StartRedrive(arguments.queue, options);
    if (redrive.ok() && (arguments.wait || options.dry_run)) {
      redrive = WaitForEnd(globals, admin, *std::move(redrive));
    }
    if (!redrive.ok()) return redrive.status();
    return Report(globals, *redrive);
  });
}

absl::Status ShowTasks(const Globals& globals, const DeadLetterArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    if (!arguments.task.empty()) {
      const auto redrive = admin.GetRedrive(arguments.task);
      return redrive.ok() ? Report(globals, *redrive) : redrive.status();
    }
    const auto redrives = admin.ListRedrives(arguments.queue);
    if (!redrives.ok()) return redrives.status();
    Json out = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const Redrive& redrive : *redrives) {
      out.push_back(ToJson(redrive));
      rows.push_back({redrive.task_id, redrive.queue,
                      redrive.options.target.empty() ? "(origin)" : redrive.options.target,
                      RedriveStateName(redrive.state), std::to_string(redrive.matched),
                      std::to_string(redrive.moved), std::to_string(redrive.skipped),
                      FormatTime(redrive.start_time),
                      OneLine(std::string(redrive.error.message()), kTextWidth)});
    }
    if (globals.json()) {
      PrintJson(out);
      return absl::OkStatus();
    }
    PrintTable({{"TASK"},
                {"QUEUE"},
                {"TARGET"},
                {"STATE"},
                {"MATCHED", true},
                {"MOVED", true},
                {"SKIPPED", true},
                {"STARTED"},
                {"ERROR"}},
               rows);
    return absl::OkStatus();
  });
}

absl::Status CancelTask(const Globals& globals, const DeadLetterArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto redrive = admin.CancelRedrive(arguments.task);
    return redrive.ok() ? Report(globals, *redrive) : redrive.status();
  });
}

void AddRedriveOptions(CLI::App& command, DeadLetterArguments& arguments) {
  RedriveFilter& filter = arguments.redrive.filter;
  command.add_option("--target", arguments.redrive.target, "the queue (each message's origin)");
  command.add_option("--origin", filter.origin, "only what came from this queue");
  command.add_option("--reason", filter.reason_contains, "only reasons with this text in them");
  command.add_option("--before", arguments.before, "only what was dead-lettered before")
      ->type_name("TIME|AGO");
  command.add_option("--after", arguments.after, "only what was dead-lettered after")
      ->type_name("TIME|AGO");
  command.add_option("--max", filter.max_messages, "at most that many");
  command.add_option("--rate", arguments.rate, "messages a second (as fast as it goes)");
  command.add_flag("--dry-run", arguments.redrive.dry_run, "count, and move nothing");
  command.add_flag("--wait", arguments.wait,
                   "until it has ended, with progress; Ctrl-C leaves it running");
}

}  // namespace

void AddDeadLetterCommands(CLI::App& cli, Globals& globals) {
  CLI::App* dlq = cli.add_subcommand("dlq", "dead letters: look at them and move them back");
  dlq->require_subcommand(1);
  dlq->footer("Example: mqctl dlq redrive orders-dead --reason timeout --rate 100 --wait");
  const auto arguments = std::make_shared<DeadLetterArguments>();
  const auto add = [&](const char* name, const char* text, const char* example, auto run) {
    CLI::App* command = dlq->add_subcommand(name, text);
    command->footer("Example: mqctl dlq " + std::string(name) + " " + example);
    OnCommand(command, globals, [&globals, arguments, run] { return run(globals, *arguments); });
    return command;
  };
  CLI::App* list = add("list", "the messages of a dead-letter queue: where from, and why",
                       "orders-dead --limit 20", List);
  list->add_option("queue", arguments->queue)->required();
  list->add_option("--limit", arguments->limit, "(100)");
  list->add_option("--from", arguments->from, "the first sequence");
  CLI::App* why = add("why", "all that is known of one dead letter", "orders-dead 17", Why);
  why->add_option("queue", arguments->queue)->required();
  why->add_option("sequence", arguments->sequence)->required();
  CLI::App* redrive = add("redrive", "move messages back, as a task of the broker",
                          "orders-dead --origin orders --before 10m --dry-run", StartRedrive);
  redrive->add_option("queue", arguments->queue, "the dead-letter queue")->required();
  AddRedriveOptions(*redrive, *arguments);
  CLI::App* status = add("status", "how redrives stand", "--queue orders-dead", ShowTasks);
  status->add_option("task", arguments->task, "only this one");
  status->add_option("--queue", arguments->queue, "only those of this dead-letter queue");
  CLI::App* cancel = add("cancel", "end a redrive; what was moved stays", "TASK", CancelTask);
  cancel->add_option("task", arguments->task)->required();
}

}  // namespace mqd::mqctl
