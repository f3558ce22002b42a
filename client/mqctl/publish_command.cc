// publish_command.cc: publish.

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <mutex>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

struct PublishArguments {
  std::string queue;
  std::string body;
  std::string file;
  std::string key;
  std::string key_from;
  std::vector<std::string> headers;
  std::uint64_t count = 1;
  bool lines = false;
  std::string ordering_key;
  std::uint32_t priority = 0;
  std::string delay;
  std::string deliver_at;
  std::string ttl;
  std::vector<std::string> deliver_after;  // QUEUE:SEQUENCE
  std::string confirm = "durable";
  std::string timeout;  // empty: that of the command line
  bool take_over = false;
};

/// In the order of ConfirmLevel, from kAccepted on.
const std::vector<std::string> kConfirmLevels = {"accepted", "durable", "delivered", "settled"};

/// What became of the messages of one command. Results come on the client's callback thread.
class Tally {
 public:
  void Take(const PublishResult& result) {
    const std::lock_guard lock(mutex_);
    if (!result.ok()) {
      ++failed_;
      if (first_error_.ok()) first_error_ = result.status();
    } else if (result->kind == PublishOutcome::Kind::kDuplicate) {
      ++duplicates_;
    } else if (result->kind == PublishOutcome::Kind::kDropped) {
      ++dropped_;
    } else {
      ++published_;
      first_sequence_ = std::min(first_sequence_, result->sequence);
      last_sequence_ = std::max(last_sequence_, result->sequence);
    }
  }

  absl::Status Report(const Globals& globals) const {
    const std::lock_guard lock(mutex_);
    if (globals.json()) {
      Json out = {{"published", published_},
                  {"duplicates", duplicates_},
                  {"failed", failed_},
                  {"dropped", dropped_}};
      if (published_ > 0) {
        out["first_sequence"] = first_sequence_;
        out["last_sequence"] = last_sequence_;
      }
      PrintJson(out);
    } else if (!globals.quiet) {
      std::cout << "published " << published_;
      if (published_ == 1) std::cout << ", sequence " << first_sequence_;
      if (published_ > 1) {
        std::cout << ", sequences " << first_sequence_ << " to " << last_sequence_;
      }
      if (dropped_ > 0) std::cout << ", dropped " << dropped_;
      if (duplicates_ > 0) std::cout << ", duplicates " << duplicates_;
      if (failed_ > 0) std::cout << ", failed " << failed_;
      std::cout << '\n';
    }
    return first_error_;
  }

 private:
  mutable std::mutex mutex_;
  std::uint64_t published_ = 0;
  std::uint64_t duplicates_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t first_sequence_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t last_sequence_ = 0;
  std::uint64_t failed_ = 0;
  absl::Status first_error_;
};

absl::StatusOr<std::vector<Header>> HeadersOf(const PublishArguments& arguments) {
  std::vector<Header> headers;
  for (const std::string& text : arguments.headers) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError("-H \"" + text + "\": write KEY=VALUE");
    }
    headers.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return headers;
}

absl::StatusOr<MessageRef> ReferenceOf(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  MessageRef reference{.queue = text.substr(0, colon)};
  if (colon == std::string::npos || colon == 0 ||
      !CLI::detail::lexical_cast(text.substr(colon + 1), reference.sequence)) {
    return absl::InvalidArgumentError("--deliver-after \"" + text + "\": write QUEUE:SEQUENCE");
  }
  return reference;
}

absl::Status SetDuration(const char* flag, const std::string& text, std::chrono::milliseconds& to) {
  if (text.empty()) return absl::OkStatus();
  const auto parsed = ParseDuration(text);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(flag + (" " + std::string(parsed.status().message())));
  }
  to = *parsed;
  return absl::OkStatus();
}

/// What all messages of the command have in common.
absl::StatusOr<Message> TemplateOf(const PublishArguments& arguments) {
  auto headers = HeadersOf(arguments);
  if (!headers.ok()) return headers.status();
  Message message{.ordering_key = arguments.ordering_key,
                  .priority = arguments.priority,
                  .headers = *std::move(headers)};
  absl::Status set = SetDuration("--delay", arguments.delay, message.delay);
  if (set.ok()) set = SetDuration("--ttl", arguments.ttl, message.ttl);
  if (!set.ok()) return set;
  if (!arguments.deliver_at.empty()) {
    const auto at = ParseTime(arguments.deliver_at);
    if (!at.ok()) {
      return absl::InvalidArgumentError("--deliver-at " + std::string(at.status().message()));
    }
    message.deliver_at = *at;
  }
  for (const std::string& text : arguments.deliver_after) {
    auto reference = ReferenceOf(text);
    if (!reference.ok()) return reference.status();
    message.deliver_after.push_back(*std::move(reference));
  }
  return message;
}

/// The idempotency key of one message: the line itself, or a field of the JSON object it is.
absl::StatusOr<std::string> KeyOf(const PublishArguments& arguments, const std::string& payload) {
  if (arguments.key_from.empty()) return arguments.key;
  if (arguments.key_from == "line") return payload;
  const Json object = Json::parse(payload, nullptr, false);
  const auto field = object.is_object() ? object.find(arguments.key_from) : object.end();
  if (!object.is_object() || field == object.end()) {
    return absl::InvalidArgumentError("--key-from " + arguments.key_from +
                                      ": a message is not a JSON object with that field");
  }
  return field->is_string() ? field->get<std::string>() : Dump(*field);
}

class PublishRun {
 public:
  PublishRun(const PublishArguments& arguments, Publisher& publisher, Tally& tally, Message common)
      : arguments_(arguments), publisher_(publisher), tally_(tally), common_(std::move(common)) {}

  absl::Status One(const std::string& payload) {
    const auto key = KeyOf(arguments_, payload);
    if (!key.ok()) return key.status();
    MessageView message = common_;
    message.payload = payload;
    message.idempotency_key = *key;
    return publisher_.Publish(
        message, [tally = &tally_](const PublishResult& result) { tally->Take(result); });
  }

  absl::Status Input(std::istream& input) {
    if (!arguments_.lines) {
      const std::string whole(std::istreambuf_iterator<char>(input), {});
      return Repeat(whole);
    }
    for (std::string line; std::getline(input, line);) {
      if (const absl::Status accepted = One(line); !accepted.ok()) return accepted;
    }
    return absl::OkStatus();
  }

  absl::Status Repeat(const std::string& payload) {
    for (std::uint64_t i = 0; i < arguments_.count; ++i) {
      if (const absl::Status accepted = One(payload); !accepted.ok()) return accepted;
    }
    return absl::OkStatus();
  }

 private:
  const PublishArguments& arguments_;
  Publisher& publisher_;
  Tally& tally_;
  const Message common_;
};

absl::Status ReadAndPublish(const PublishArguments& arguments, PublishRun& run) {
  if (!arguments.body.empty() && arguments.body != "-") return run.Repeat(arguments.body);
  if (!arguments.file.empty()) {
    std::ifstream file(arguments.file, std::ios::binary);
    if (!file) return absl::NotFoundError("cannot read " + arguments.file);
    return run.Input(file);
  }
  if (isatty(STDIN_FILENO) != 0) std::cerr << "reading from the terminal; end with Ctrl-D\n";
  return run.Input(std::cin);
}

absl::Status Publish(const Globals& globals, const PublishArguments& arguments) {
  auto common = TemplateOf(arguments);
  if (!common.ok()) return common.status();
  const auto timeout =
      ParseDuration(arguments.timeout.empty() ? globals.timeout : arguments.timeout);
  if (!timeout.ok()) return timeout.status();
  const auto level = std::find(kConfirmLevels.begin(), kConfirmLevels.end(), arguments.confirm) -
                     kConfirmLevels.begin() + 1;
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  auto publisher = (*client)->NewPublisher({.queue = arguments.queue,
                                            .confirm_level = static_cast<ConfirmLevel>(level),
                                            .timeout = *timeout,
                                            .full_timeout = *timeout,
                                            .take_over = arguments.take_over,
                                            .on_blocked = [&globals](const absl::Status& why) {
                                              if (!why.ok() && !globals.quiet)
                                                std::cerr << "waiting: " << why.message() << '\n';
                                            }});
  if (!publisher.ok()) return publisher.status();
  Tally tally;
  PublishRun run(arguments, **publisher, tally, *std::move(common));
  absl::Status sent = ReadAndPublish(arguments, run);
  const absl::Status flushed = (*publisher)->Flush(*timeout + std::chrono::seconds(5));
  if (!flushed.ok()) {
    const absl::Status why = (*publisher)->ConnectionStatus();
    if (sent.ok()) sent = why.ok() ? flushed : why;
  }
  static_cast<void>((*publisher)->Close(std::chrono::milliseconds(0)));
  const absl::Status results = tally.Report(globals);
  return sent.ok() ? results : sent;
}

}  // namespace

namespace {

void AddMessageOptions(CLI::App& publish, PublishArguments& arguments) {
  publish.add_option("-H,--header", arguments.headers, "KEY=VALUE, may be repeated")
      ->allow_extra_args(false);
  publish.add_option("--ordering-key", arguments.ordering_key,
                     "messages of one key are worked off one after the other (ordering keyed)");
  publish.add_option("--priority", arguments.priority, "0 to 9, 9 is delivered first (0)");
  CLI::Option* delay =
      publish.add_option("--delay", arguments.delay, "deliver after that time")->type_name("TIME");
  publish.add_option("--deliver-at", arguments.deliver_at, "as in 2026-01-31T12:00:00Z")
      ->type_name("UTC")
      ->excludes(delay);
  publish.add_option("--ttl", arguments.ttl, "how long it may wait")->type_name("TIME");
  publish
      .add_option("--deliver-after", arguments.deliver_after,
                  "not before that message is settled; may be repeated")
      ->type_name("QUEUE:SEQUENCE")
      ->allow_extra_args(false);
}

}  // namespace

void AddPublishCommand(CLI::App& cli, Globals& globals) {
  const auto arguments = std::make_shared<PublishArguments>();
  CLI::App* publish = cli.add_subcommand("publish", "publish, and wait until all is on disk");
  publish->add_option("queue", arguments->queue)->required();
  publish->add_option("body", arguments->body, "the message; not given or -: standard input");
  publish->add_option("--file", arguments->file, "read the message, or the lines, from there");
  publish->add_flag("--lines", arguments->lines, "each line is a message");
  publish->add_option("--key", arguments->key, "idempotency key of the one message");
  publish
      ->add_option("--key-from", arguments->key_from,
                   "idempotency key of each message: \"line\" for all of it, or the name of a "
                   "field of the JSON object it is")
      ->excludes("--key");
  AddMessageOptions(*publish, *arguments);
  publish->add_option("--count", arguments->count, "publish the message that often (1)");
  publish->add_option("--confirm", arguments->confirm, "what to wait for (durable)")
      ->transform(OneOf(kConfirmLevels));
  publish->add_option("--timeout", arguments->timeout, "for the confirms, and for room")
      ->type_name("TIME");
  publish->add_flag("--take-over", arguments->take_over, "fence off a publisher that holds it");
  publish->footer(
      "Examples:\n"
      "  mqctl publish orders '{\"id\": 7}' --key 7\n"
      "  mqctl publish orders --lines --file orders.jsonl --key-from id\n"
      "  mqctl publish jobs now --priority 9 --ttl 5m --confirm settled --timeout 1m");
  OnCommand(publish, globals, [&globals, arguments] { return Publish(globals, *arguments); });
}

}  // namespace mqd::mqctl
