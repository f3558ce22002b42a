// message_commands.cc: peek, find, cancel, history, dedup: single messages and what is known of
// them.

#include <iostream>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"

namespace mqd::mqctl {
namespace {

constexpr std::size_t kPayloadWidth = 60;

struct MessageArguments {
  std::string queue;
  std::string state;
  std::string key;
  std::uint64_t sequence = 0;
  std::vector<std::uint64_t> sequences;
  std::uint32_t limit = 0;
  std::uint64_t from = 0;
};

void PrintMessages(const std::vector<PeekedMessage>& messages) {
  std::vector<std::vector<std::string>> rows;
  for (const PeekedMessage& message : messages) {
    const std::string& payload = message.message.payload;
    rows.push_back({std::to_string(message.sequence), StatusName(message.status),
                    std::to_string(message.attempts), FormatTime(message.publish_time),
                    std::to_string(payload.size()), OneLine(payload, kPayloadWidth),
                    OneLine(message.last_error, kPayloadWidth)});
  }
  PrintTable({{"SEQUENCE", true},
              {"STATE"},
              {"TRY", true},
              {"PUBLISHED"},
              {"BYTES", true},
              {"PAYLOAD"},
              {"LAST_ERROR"}},
             rows);
}

absl::Status Peek(const Globals& globals, const MessageArguments& arguments) {
  PeekOptions options{.from_sequence = arguments.from, .limit = arguments.limit};
  for (const MessageStatus status : {MessageStatus::kReady, MessageStatus::kInFlight,
                                     MessageStatus::kDelayed, MessageStatus::kParked}) {
    if (arguments.state == StatusName(status)) options.status = status;
  }
  return WithAdmin(globals, [&](Admin& admin) {
    const auto peeked = admin.PeekMessages(arguments.queue, options);
    if (!peeked.ok()) return peeked.status();
    if (!globals.json()) {
      PrintMessages(*peeked);
      return absl::OkStatus();
    }
    Json out = Json::array();
    for (const PeekedMessage& message : *peeked) out.push_back(PeekedToJson(message));
    PrintJson(out);
    return absl::OkStatus();
  });
}

absl::Status Find(const Globals& globals, const MessageArguments& arguments) {
  if (arguments.key.empty() == (arguments.sequence == 0)) {
    return absl::InvalidArgumentError("name the message by --sequence or by --key");
  }
  return WithAdmin(globals, [&](Admin& admin) {
    const auto found = arguments.key.empty()
                           ? admin.FindMessage(arguments.queue, arguments.sequence)
                           : admin.FindMessageByKey(arguments.queue, arguments.key);
    if (!found.ok()) return found.status();
    if (globals.json()) {
      PrintJson(PeekedToJson(*found));
    } else {
      PrintMessages({*found});
    }
    return absl::OkStatus();
  });
}

absl::Status Cancel(const Globals& globals, const MessageArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto cancelled = admin.CancelMessages(arguments.queue, arguments.sequences);
    if (!cancelled.ok()) return cancelled.status();
    Json errors = Json::array();
    for (const CancelResult::Error& error : cancelled->errors) {
      errors.push_back(
          {{"sequence", error.sequence}, {"error", std::string(error.status.message())}});
    }
    if (globals.json()) {
      PrintJson({{"cancelled", cancelled->cancelled}, {"errors", errors}});
    } else if (!globals.quiet) {
      std::cout << "cancelled " << cancelled->cancelled << " messages\n";
    }
    return cancelled->errors.empty() ? absl::OkStatus() : cancelled->errors.front().status;
  });
}

absl::Status History(const Globals& globals, const MessageArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto history = admin.GetHistory(arguments.queue, arguments.sequence, arguments.limit);
    if (!history.ok()) return history.status();
    Json out = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const HistoryEntry& entry : *history) {
      out.push_back({{"first_sequence", entry.first_sequence},
                     {"last_sequence", entry.last_sequence},
                     {"time", FormatTime(entry.time)},
                     {"transition", TransitionName(entry.transition)},
                     {"attempt", entry.attempt},
                     {"client_name", entry.client_name},
                     {"text", entry.text}});
      const std::string first = std::to_string(entry.first_sequence);
      const bool one = entry.first_sequence == entry.last_sequence;
      rows.push_back({FormatTime(entry.time),
                      one ? first : first + "-" + std::to_string(entry.last_sequence),
                      TransitionName(entry.transition),
                      entry.attempt == 0 ? "-" : std::to_string(entry.attempt), entry.client_name,
                      OneLine(entry.text, kPayloadWidth)});
    }
    if (globals.json()) {
      PrintJson(out);
      return absl::OkStatus();
    }
    PrintTable({{"TIME"}, {"SEQUENCE", true}, {"WHAT"}, {"TRY", true}, {"CONSUMER"}, {"TEXT"}},
               rows);
    if (rows.empty() && !globals.quiet) {
      std::cerr << "nothing is remembered; a queue remembers what happens once history_entries is "
                   "set: mqctl queue update "
                << arguments.queue << " --history-entries 1000\n";
    }
    return absl::OkStatus();
  });
}

absl::Status ShowKey(const Globals& globals, const MessageArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto entry = admin.GetDedupEntry(arguments.queue, arguments.key);
    if (!entry.ok()) return entry.status();
    if (globals.json()) {
      PrintJson({{"sequence", entry->sequence},
                 {"state", StatusName(entry->status)},
                 {"first_seen", FormatTime(entry->first_seen)},
                 {"expires", FormatTime(entry->expires)}});
    } else {
      PrintTable({{"KEY"}, {"SEQUENCE", true}, {"STATE"}, {"FIRST_SEEN"}, {"EXPIRES"}},
                 {{arguments.key, std::to_string(entry->sequence), StatusName(entry->status),
                   FormatTime(entry->first_seen), FormatTime(entry->expires)}});
    }
    return absl::OkStatus();
  });
}

absl::Status ForgetKey(const Globals& globals, const MessageArguments& arguments) {
  return WithAdmin(globals, [&](Admin& admin) {
    const absl::Status forgotten = admin.ForgetDedupEntry(arguments.queue, arguments.key);
    if (!forgotten.ok()) return forgotten;
    if (globals.json()) {
      PrintJson({{"forgotten", arguments.key}});
    } else if (!globals.quiet) {
      std::cout << "forgotten " << arguments.key << '\n';
    }
    return absl::OkStatus();
  });
}

}  // namespace

void AddMessageCommands(CLI::App& cli, Globals& globals) {
  const auto add = [&](CLI::App& parent, const char* name, const char* text, const char* example,
                       auto run) {
    const auto arguments = std::make_shared<MessageArguments>();
    CLI::App* command = parent.add_subcommand(name, text);
    command->footer(std::string("Example: mqctl ") + example);
    command->add_option("queue", arguments->queue, "[namespace/]name")->required();
    OnCommand(command, globals, [&globals, arguments, run] { return run(globals, *arguments); });
    return std::pair(command, arguments);
  };
  const auto [peek, peeked] = add(cli, "peek", "show messages without touching them",
                                  "peek orders --state parked --limit 5", Peek);
  peeked->limit = 10;
  peek->add_option("--state", peeked->state, "only those")
      ->transform(OneOf({"ready", "in_flight", "delayed", "parked"}));
  peek->add_option("--limit", peeked->limit, "1 to 100 (10)");
  peek->add_option("--from", peeked->from, "the first sequence");

  const auto [find, found] =
      add(cli, "find", "show one message in whatever state", "find orders --key order-7", Find);
  find->add_option("--sequence", found->sequence, "what its confirm said");
  find->add_option("--key", found->key, "its idempotency key");

  const auto [cancel, cancelled] =
      add(cli, "cancel", "remove messages that are not in flight", "cancel orders 17 18", Cancel);
  cancel->add_option("sequences", cancelled->sequences, "up to 1,024")->required();

  const auto [history, remembered] =
      add(cli, "history", "show what happened to messages, when history_entries is set",
          "history orders --sequence 17", History);
  remembered->limit = 100;
  history->add_option("--sequence", remembered->sequence, "of that message only");
  history->add_option("--limit", remembered->limit, "the latest, 1 to 1,000 (100)");

  CLI::App* dedup = cli.add_subcommand("dedup", "what the queue remembers of idempotency keys");
  dedup->require_subcommand(1);
  dedup->footer("Example: mqctl dedup show orders order-7");
  const auto [show, shown] = add(*dedup, "show", "the message that a key stands for",
                                 "dedup show orders order-7", ShowKey);
  show->add_option("key", shown->key)->required();
  const auto [forget, forgotten] =
      add(*dedup, "forget", "let the next message with this key be stored",
          "dedup forget orders order-7", ForgetKey);
  forget->add_option("key", forgotten->key)->required();
}

}  // namespace mqd::mqctl
