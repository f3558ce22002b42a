// explain_commands.cc: why, consumer list, publisher list.

#include <algorithm>
#include <charconv>
#include <iostream>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"

namespace mqd::mqctl {
namespace {

struct ExplainArguments {
  std::string queue;
  std::string who;  // a consumer or publisher: its id or client name; or an ordering key
  std::uint64_t sequence = 0;
};

/// The number that `text` is; nothing when it is something else.
std::optional<std::uint64_t> IdOf(const std::string& text) {
  std::uint64_t id = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, id);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return id;
}

Subject ConsumerOf(const ExplainArguments& arguments) {
  const auto id = IdOf(arguments.who);
  return id ? Subject::Consumer(*id) : Subject::ConsumersNamed(arguments.who);
}

Subject PublisherOf(const ExplainArguments& arguments) {
  const auto id = IdOf(arguments.who);
  return id ? Subject::Publisher(*id) : Subject::PublishersNamed(arguments.who);
}

Json ToJson(const Explanation& why) {
  return {{"cause", CauseName(why.cause)},  {"text", why.text},
          {"resource", why.resource},       {"delivery_id", why.delivery_id},
          {"sequence", why.sequence},       {"since", TimeToJson(why.since)},
          {"until", TimeToJson(why.until)}, {"limit", why.limit},
          {"current", why.current}};
}

absl::Status Why(const Globals& globals, const std::string& queue, const Subject& subject) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto explanations = admin.Explain(queue, subject);
    if (!explanations.ok()) return explanations.status();
    if (globals.json()) {
      Json out = Json::array();
      for (const Explanation& why : *explanations) out.push_back(ToJson(why));
      PrintJson(out);
      return absl::OkStatus();
    }
    for (const Explanation& why : *explanations) {
      std::cout << CauseName(why.cause) << ": " << why.text << '\n';
      if (why.since) std::cout << "  since " << FormatTime(*why.since) << '\n';
      if (why.until) std::cout << "  until " << FormatTime(*why.until) << '\n';
    }
    return absl::OkStatus();
  });
}

absl::Status ListConsumers(const Globals& globals, const std::string& queue) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto clients = admin.ListClients(queue);
    if (!clients.ok()) return clients.status();
    Json out = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const ConsumerInfo& one : clients->consumers) {
      const char* state = one.draining ? "draining" : one.standby ? "standby" : "active";
      out.push_back({{"consumer_id", one.consumer_id},
                     {"client_name", one.client_name},
                     {"since", FormatTime(one.since)},
                     {"in_flight", one.in_flight},
                     {"credit_messages", one.credit_messages},
                     {"credit_bytes", one.credit_bytes},
                     {"delivered_total", one.delivered_total},
                     {"acked_total", one.acked_total},
                     {"draining", one.draining},
                     {"standby", one.standby},
                     {"select", one.select}});
      rows.push_back({std::to_string(one.consumer_id), one.client_name, FormatTime(one.since),
                      std::to_string(one.in_flight), std::to_string(one.credit_messages),
                      std::to_string(one.credit_bytes), std::to_string(one.delivered_total),
                      std::to_string(one.acked_total),
                      std::string(state) + (one.select ? ", select" : "")});
    }
    if (globals.json()) {
      PrintJson(out);
      return absl::OkStatus();
    }
    PrintTable({{"ID", true},
                {"NAME"},
                {"SINCE"},
                {"IN_FLIGHT", true},
                {"CREDIT", true},
                {"CREDIT_BYTES", true},
                {"DELIVERED", true},
                {"ACKED", true},
                {"STATE"}},
               rows);
    return absl::OkStatus();
  });
}

absl::Status ListPublishers(const Globals& globals, const std::string& queue) {
  return WithAdmin(globals, [&](Admin& admin) {
    const auto clients = admin.ListClients(queue);
    if (!clients.ok()) return clients.status();
    Json out = Json::array();
    std::vector<std::vector<std::string>> rows;
    for (const PublisherInfo& one : clients->publishers) {
      out.push_back({{"publisher_id", one.publisher_id},
                     {"client_name", one.client_name},
                     {"since", FormatTime(one.since)},
                     {"waiting", one.waiting}});
      rows.push_back({std::to_string(one.publisher_id), one.client_name, FormatTime(one.since),
                      std::to_string(one.waiting)});
    }
    if (globals.json()) {
      PrintJson(out);
      return absl::OkStatus();
    }
    PrintTable({{"ID", true}, {"NAME"}, {"SINCE"}, {"WAITING", true}}, rows);
    return absl::OkStatus();
  });
}

void AddWhy(CLI::App& cli, Globals& globals) {
  CLI::App* why = cli.add_subcommand("why", "why something does not move, and what to do");
  why->require_subcommand(1);
  why->footer("Example: mqctl why message orders 17");
  const auto add = [&](const char* name, const char* text, const char* example, auto subject) {
    const auto arguments = std::make_shared<ExplainArguments>();
    CLI::App* command = why->add_subcommand(name, text);
    command->footer("Example: mqctl why " + std::string(name) + " " + example);
    command->add_option("queue", arguments->queue, "[namespace/]name")->required();
    OnCommand(command, globals, [&globals, arguments, subject] {
      return Why(globals, arguments->queue, subject(*arguments));
    });
    return std::pair(command, arguments);
  };
  add("queue", "why a queue delivers nothing, or takes nothing", "orders",
      [](const ExplainArguments&) { return Subject::Queue(); });
  const auto [consumer, of_consumer] =
      add("consumer", "why a consumer gets nothing", "orders billing-3", ConsumerOf);
  consumer->add_option("who", of_consumer->who, "its id, or client name")->required();
  const auto [publisher, of_publisher] =
      add("publisher", "why a publisher waits", "orders importer", PublisherOf);
  publisher->add_option("who", of_publisher->who, "its id, or client name")->required();
  const auto [key, of_key] =
      add("key", "why messages of an ordering key wait", "orders customer-7",
          [](const ExplainArguments& given) { return Subject::OrderingKey(given.who); });
  key->add_option("key", of_key->who, "the ordering key")->required();
  const auto [message, of_message] =
      add("message", "why one message is not delivered", "orders 17",
          [](const ExplainArguments& given) { return Subject::Message(given.sequence); });
  message->add_option("sequence", of_message->sequence)->required();
}

}  // namespace

void AddExplainCommands(CLI::App& cli, Globals& globals) {
  AddWhy(cli, globals);
  const auto add = [&](const char* noun, const char* text, auto run) {
    const auto queue = std::make_shared<std::string>();
    CLI::App* parent = cli.add_subcommand(noun, text);
    parent->require_subcommand(1);
    CLI::App* list = parent->add_subcommand("list", text);
    const std::string example = "Example: mqctl " + std::string(noun) + " list orders";
    parent->footer(example);
    list->footer(example);
    list->add_option("queue", *queue, "[namespace/]name")->required();
    OnCommand(list, globals, [&globals, queue, run] { return run(globals, *queue); });
  };
  add("consumer", "who consumes from a queue", ListConsumers);
  add("publisher", "who publishes to a queue", ListPublishers);
}

}  // namespace mqd::mqctl
