// publish_command.cc: publish.

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <iostream>
#include <iterator>
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
};

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
    } else {
      ++published_;
    }
  }

  absl::Status Report(const Globals& globals) const {
    const std::lock_guard lock(mutex_);
    if (globals.json()) {
      PrintJson({{"published", published_}, {"duplicates", duplicates_}, {"failed", failed_}});
    } else if (!globals.quiet) {
      std::cout << "published " << published_;
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
  PublishRun(const PublishArguments& arguments, Publisher& publisher, Tally& tally,
             std::vector<Header> headers)
      : arguments_(arguments), publisher_(publisher), tally_(tally), headers_(std::move(headers)) {}

  absl::Status One(const std::string& payload) {
    const auto key = KeyOf(arguments_, payload);
    if (!key.ok()) return key.status();
    const MessageView message{.payload = payload, .idempotency_key = *key, .headers = headers_};
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
  const std::vector<Header> headers_;
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
  auto headers = HeadersOf(arguments);
  if (!headers.ok()) return headers.status();
  const auto timeout = ParseDuration(globals.timeout);
  if (!timeout.ok()) return timeout.status();
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  auto publisher = (*client)->NewPublisher(
      {.queue = arguments.queue, .timeout = *timeout, .full_timeout = *timeout});
  if (!publisher.ok()) return publisher.status();
  Tally tally;
  PublishRun run(arguments, **publisher, tally, *std::move(headers));
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
  publish->add_option("-H,--header", arguments->headers, "KEY=VALUE, may be repeated");
  publish->add_option("--count", arguments->count, "publish the message that often (1)");
  publish->footer(
      "Examples:\n"
      "  mqctl publish orders '{\"id\": 7}' --key 7\n"
      "  mqctl publish orders --lines --file orders.jsonl --key-from id");
  OnCommand(publish, globals, [&globals, arguments] { return Publish(globals, *arguments); });
}

}  // namespace mqd::mqctl
