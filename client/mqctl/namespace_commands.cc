// namespace_commands.cc: namespace ...: quotas over all queues of a namespace.

#include <iostream>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

struct NamespaceArguments {
  std::string name;
  std::string max_queues;
  std::string max_messages;
  std::string max_bytes;
  bool force = false;
};

/// Nothing for a flag that was not given.
absl::StatusOr<std::optional<Limit>> LimitOf(const char* flag, const std::string& text, bool size) {
  if (text.empty()) return std::nullopt;
  if (text == "unlimited") return Limit::Unlimited();
  std::uint64_t number = 0;
  if (size) {
    const auto parsed = ParseSize(text);
    if (parsed.ok()) return Limit::Of(*parsed);
  } else if (CLI::detail::lexical_cast(text, number)) {
    return Limit::Of(number);
  }
  return absl::InvalidArgumentError(std::string(flag) + " \"" + text + "\": expected " +
                                    (size ? "a size, as in 4GiB," : "a number") + " or unlimited");
}

absl::StatusOr<NamespaceQuotas> QuotasOf(const NamespaceArguments& arguments) {
  const auto queues = LimitOf("--max-queues", arguments.max_queues, false);
  if (!queues.ok()) return queues.status();
  const auto messages = LimitOf("--max-messages", arguments.max_messages, false);
  if (!messages.ok()) return messages.status();
  const auto bytes = LimitOf("--max-bytes", arguments.max_bytes, true);
  if (!bytes.ok()) return bytes.status();
  return NamespaceQuotas{*queues, *messages, *bytes};
}

Json LimitToJson(const std::optional<Limit>& limit, bool size) {
  if (!limit || limit->unlimited) return "unlimited";
  return size ? Json(FormatSize(limit->value)) : Json(limit->value);
}

std::string Text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : Dump(value);
}

Json ToJson(const Namespace& one) {
  return {{"name", one.name},
          {"max_queues", LimitToJson(one.quotas.max_queues, false)},
          {"max_messages", LimitToJson(one.quotas.max_messages, false)},
          {"max_bytes", LimitToJson(one.quotas.max_bytes, true)},
          {"create_time", TimeToJson(one.create_time)},
          {"queues", one.queues},
          {"messages", one.messages},
          {"bytes", one.bytes}};
}

void PrintNamespaces(const std::vector<Namespace>& namespaces) {
  std::vector<std::vector<std::string>> rows;
  for (const Namespace& one : namespaces) {
    const Json json = ToJson(one);
    rows.push_back({one.name, std::to_string(one.queues), Text(json["max_queues"]),
                    std::to_string(one.messages), Text(json["max_messages"]),
                    std::to_string(one.bytes), Text(json["max_bytes"])});
  }
  PrintTable({{"NAMESPACE"},
              {"QUEUES", true},
              {"MAX_QUEUES", true},
              {"MESSAGES", true},
              {"MAX_MESSAGES", true},
              {"BYTES", true},
              {"MAX_BYTES", true}},
             rows);
}

absl::Status Show(const Globals& globals, const absl::StatusOr<Namespace>& one) {
  if (!one.ok()) return one.status();
  if (globals.json()) {
    PrintJson(ToJson(*one));
  } else if (!globals.quiet) {
    PrintNamespaces({*one});
  }
  return absl::OkStatus();
}

absl::Status Create(const Globals& globals, const NamespaceArguments& arguments) {
  const auto quotas = QuotasOf(arguments);
  if (!quotas.ok()) return quotas.status();
  return WithAdmin(globals, [&](Admin& admin) {
    const auto created = admin.CreateNamespace(arguments.name, *quotas);
    if (!created.ok()) return created.status();
    if (globals.json()) {
      Json out = ToJson(created->name_space);
      out["created"] = created->created;
      PrintJson(out);
    } else if (!globals.quiet) {
      std::cout << (created->created ? "created " : "there already: ") << arguments.name << '\n';
    }
    return absl::OkStatus();
  });
}

absl::Status Get(const Globals& globals, const NamespaceArguments& arguments) {
  return WithAdmin(globals,
                   [&](Admin& admin) { return Show(globals, admin.GetNamespace(arguments.name)); });
}

absl::Status Update(const Globals& globals, const NamespaceArguments& arguments) {
  const auto quotas = QuotasOf(arguments);
  if (!quotas.ok()) return quotas.status();
  return WithAdmin(globals, [&](Admin& admin) {
    return Show(globals, admin.UpdateNamespace(arguments.name, *quotas));
  });
}

absl::Status List(const Globals& globals, const NamespaceArguments&) {
  return WithAdmin(globals, [&](Admin& admin) {
    std::vector<Namespace> all;
    std::string token;
    do {
      const auto page = admin.ListNamespaces(100, token);
      if (!page.ok()) return page.status();
      all.insert(all.end(), page->namespaces.begin(), page->namespaces.end());
      token = page->next_page_token;
    } while (!token.empty());
    if (!globals.json()) {
      PrintNamespaces(all);
      return absl::OkStatus();
    }
    Json out = Json::array();
    for (const Namespace& one : all) out.push_back(ToJson(one));
    PrintJson(out);
    return absl::OkStatus();
  });
}

absl::Status Delete(const Globals& globals, const NamespaceArguments& arguments) {
  const std::string what =
      "delete namespace " + arguments.name + (arguments.force ? " with all its queues" : "");
  if (const absl::Status sure = Confirm(globals, what); !sure.ok()) return sure;
  return WithAdmin(globals, [&](Admin& admin) {
    const auto queues = admin.DeleteNamespace(arguments.name, arguments.force);
    if (!queues.ok()) return queues.status();
    if (globals.json()) {
      PrintJson({{"deleted_queues", *queues}});
    } else if (!globals.quiet) {
      std::cout << "deleted " << arguments.name << " and " << *queues << " queues\n";
    }
    return absl::OkStatus();
  });
}

}  // namespace

void AddNamespaceCommands(CLI::App& cli, Globals& globals) {
  CLI::App* parent = cli.add_subcommand("namespace", "quotas over all queues of a namespace");
  parent->require_subcommand(1);
  parent->footer("Example: mqctl namespace create shop --max-queues 50 --max-bytes 4GiB");
  const auto arguments = std::make_shared<NamespaceArguments>();
  const auto add = [&](const char* name, const char* text, const char* example, auto run) {
    CLI::App* command = parent->add_subcommand(name, text);
    command->footer("Example: mqctl namespace " + std::string(name) + " " + example);
    if (std::string(name) != "list") command->add_option("name", arguments->name)->required();
    OnCommand(command, globals, [&globals, arguments, run] { return run(globals, *arguments); });
    return command;
  };
  const auto add_quotas = [&](CLI::App* command) {
    command->add_option("--max-queues", arguments->max_queues)->type_name("N|unlimited");
    command->add_option("--max-messages", arguments->max_messages, "over all queues")
        ->type_name("N|unlimited");
    command->add_option("--max-bytes", arguments->max_bytes, "over all queues")
        ->type_name("SIZE|unlimited");
  };
  add_quotas(add("create", "give a namespace quotas; those not named are unlimited",
                 "shop --max-queues 50 --max-bytes 4GiB", Create));
  add("get", "show quotas and use", "shop", Get);
  add("list", "show all namespaces", "", List);
  add_quotas(add("update", "change quotas", "shop --max-messages unlimited", Update));
  add("delete", "remove a namespace that has no queues", "shop", Delete)
      ->add_flag("--force", arguments->force, "with its queues and all they hold");
}

}  // namespace mqd::mqctl
