// queue_commands.cc: queue ..., node status.

#include <iostream>
#include <map>

#include "client/mqctl/commands.h"
#include "client/mqctl/output.h"
#include "client/mqctl/settings_table.h"
#include "client/mqctl/units.h"

namespace mqd::mqctl {
namespace {

/// What the options of all queue commands fill in.
struct QueueArguments {
  std::string name;
  std::string prefix;
  std::string name_space;
  std::map<std::string, std::string> settings;  // by name of the setting
  bool force = false;
  bool purge_dedup = false;
  bool publish = false;  // of pause
  bool consume = false;
  std::vector<std::string> reset;
};

absl::StatusOr<QueueSettings> SettingsOf(const QueueArguments& arguments) {
  QueueSettings settings;
  for (const SettingRow& row : SettingsTable()) {
    const auto given = arguments.settings.find(row.name);
    if (given == arguments.settings.end()) continue;
    if (const absl::Status set = row.set(settings, given->second); !set.ok()) {
      return absl::InvalidArgumentError(FlagOf(row) + " " + std::string(set.message()));
    }
  }
  return settings;
}

void AddSettings(CLI::App* command, QueueArguments& arguments) {
  for (const SettingRow& row : SettingsTable()) {
    command
        ->add_option_function<std::string>(FlagOf(row),
                                           [&arguments, name = row.name](const std::string& text) {
                                             arguments.settings[name] = text;
                                           })
        ->type_name(row.value);
  }
}

void PrintQueue(const Queue& queue) {
  const QueueStats& stats = queue.stats;
  std::cout << "Queue " << queue.name << (queue.closed ? " (closed)" : "") << ", generation "
            << queue.generation << ", created " << FormatTime(queue.create_time) << '\n'
            << "  Messages   ready " << stats.ready << "   in flight " << stats.in_flight
            << "   delayed " << stats.delayed << "   parked " << stats.parked << "   ("
            << stats.backlog_bytes << " B)\n"
            << "  Clients    publishers " << stats.publishers << " (" << stats.blocked_publishers
            << " blocked)   consumers " << stats.consumers << '\n'
            << "  Totals     published " << stats.published_total << "   acked "
            << stats.acked_total << "   redelivered " << stats.redelivered_total << "   duplicates "
            << stats.duplicates_total << "\n             rejected " << stats.rejected_total
            << "   dropped " << stats.dropped_total << "   diverted " << stats.diverted_total
            << "   expired " << stats.expired_total << "   dead-lettered "
            << stats.dead_lettered_total << '\n';
  for (const std::string& alarm : stats.alarms) std::cout << "  Alarm      " << alarm << '\n';
  std::cout << "  Settings\n";
  const Json settings = SettingsToJson(queue.settings);
  for (const auto& [name, value] : settings.items()) {
    std::cout << "    " << name << " = "
              << (value.is_string() ? value.get<std::string>() : Dump(value)) << '\n';
  }
}

absl::Status Show(const Globals& globals, const absl::StatusOr<Queue>& queue) {
  if (!queue.ok()) return queue.status();
  if (globals.json()) {
    PrintJson(QueueToJson(*queue));
  } else if (!globals.quiet) {
    PrintQueue(*queue);
  }
  return absl::OkStatus();
}

absl::Status Create(const Globals& globals, const QueueArguments& arguments) {
  const auto settings = SettingsOf(arguments);
  if (!settings.ok()) return settings.status();
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  const auto created = (*client)->NewAdmin()->CreateQueue(arguments.name, *settings);
  if (!created.ok()) return created.status();
  if (globals.json()) {
    Json out = QueueToJson(created->queue);
    out["created"] = created->created;
    PrintJson(out);
  } else if (!globals.quiet) {
    std::cout << (created->created ? "created " : "there already: ") << created->queue.name << '\n';
  }
  return absl::OkStatus();
}

absl::Status List(const Globals& globals, const QueueArguments& arguments) {
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  const auto admin = (*client)->NewAdmin();
  ListOptions options{.name_space = arguments.name_space, .prefix = arguments.prefix};
  std::vector<Queue> queues;
  do {
    const auto page = admin->ListQueues(options);
    if (!page.ok()) return page.status();
    queues.insert(queues.end(), page->queues.begin(), page->queues.end());
    options.page_token = page->next_page_token;
  } while (!options.page_token.empty());
  if (globals.json()) {
    Json out = Json::array();
    for (const Queue& queue : queues) out.push_back(QueueToJson(queue));
    PrintJson(out);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows;
  for (const Queue& queue : queues) {
    const QueueStats& stats = queue.stats;
    rows.push_back({queue.name, std::to_string(stats.ready), std::to_string(stats.in_flight),
                    std::to_string(stats.delayed), std::to_string(stats.parked),
                    std::to_string(stats.publishers), std::to_string(stats.consumers),
                    stats.oldest_age ? FormatDuration(*stats.oldest_age) : "-",
                    queue.closed ? "closed" : "open"});
  }
  PrintTable({{"QUEUE"},
              {"READY", true},
              {"IN_FLIGHT", true},
              {"DELAYED", true},
              {"PARKED", true},
              {"PUBLISHERS", true},
              {"CONSUMERS", true},
              {"OLDEST", true},
              {"STATE"}},
             rows);
  return absl::OkStatus();
}

absl::Status Update(const Globals& globals, const QueueArguments& arguments) {
  const auto settings = SettingsOf(arguments);
  if (!settings.ok()) return settings.status();
  UpdateOptions options{.mask = settings->SetFields()};
  options.mask.insert(options.mask.end(), arguments.reset.begin(), arguments.reset.end());
  if (options.mask.empty()) {
    return absl::InvalidArgumentError("nothing to change: name a setting, or --reset one");
  }
  return WithAdmin(globals, [&](Admin& admin) {
    return Show(globals, admin.UpdateQueue(arguments.name, *settings, options));
  });
}

absl::Status SetPaused(const Globals& globals, const std::string& name, Paused paused) {
  QueueSettings settings;
  settings.paused = paused;
  return WithAdmin(globals,
                   [&](Admin& admin) { return Show(globals, admin.UpdateQueue(name, settings)); });
}

absl::Status Pause(const Globals& globals, const QueueArguments& arguments) {
  const bool both = arguments.publish == arguments.consume;
  return SetPaused(globals, arguments.name,
                   both                ? Paused::kBoth
                   : arguments.publish ? Paused::kPublish
                                       : Paused::kConsume);
}

absl::Status Resume(const Globals& globals, const QueueArguments& arguments) {
  return SetPaused(globals, arguments.name, Paused::kNone);
}

absl::Status PrintCount(const Globals& globals, const char* what,
                        const absl::StatusOr<std::uint64_t>& count) {
  if (!count.ok()) return count.status();
  if (globals.json()) {
    PrintJson({{what, *count}});
  } else if (!globals.quiet) {
    std::cout << what << ' ' << *count << " messages\n";
  }
  return absl::OkStatus();
}

absl::Status Delete(const Globals& globals, const QueueArguments& arguments) {
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  const absl::Status sure = Confirm(globals, "delete queue " + arguments.name);
  if (!sure.ok()) return sure;
  return PrintCount(globals, "deleted",
                    (*client)->NewAdmin()->DeleteQueue(arguments.name, arguments.force));
}

absl::Status Purge(const Globals& globals, const QueueArguments& arguments) {
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  const absl::Status sure = Confirm(globals, "purge queue " + arguments.name);
  if (!sure.ok()) return sure;
  return PrintCount(globals, "purged",
                    (*client)->NewAdmin()->PurgeQueue(arguments.name, arguments.purge_dedup));
}

absl::Status Node(const Globals& globals) {
  const auto client = globals.Connect();
  if (!client.ok()) return client.status();
  const auto node = (*client)->NewAdmin()->GetNodeStatus();
  if (!node.ok()) return node.status();
  const Json out = {{"version", node->version},
                    {"node_name", node->node_name},
                    {"start_time", FormatTime(node->start_time)},
                    {"epoch", node->epoch},
                    {"data_dir", node->data_dir},
                    {"queues", node->queues},
                    {"publish_streams", node->publish_streams},
                    {"consume_streams", node->consume_streams},
                    {"resident_bytes", node->resident_bytes},
                    {"disk_free_bytes", node->disk_free_bytes},
                    {"disk_low_watermark_bytes", node->disk_low_watermark_bytes},
                    {"disk_low", node->disk_low},
                    {"draining", node->draining},
                    {"committed_batches_total", node->committed_batches_total},
                    {"fsyncs_total", node->fsyncs_total},
                    {"cached_body_bytes", node->cached_body_bytes}};
  if (globals.json()) {
    PrintJson(out);
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, value] : out.items()) {
    rows.push_back({name, value.is_string() ? value.get<std::string>() : Dump(value)});
  }
  PrintTable({{"WHAT"}, {"VALUE"}}, rows);
  return absl::OkStatus();
}

}  // namespace

void AddQueueCommands(CLI::App& cli, Globals& globals) {
  const auto arguments = std::make_shared<QueueArguments>();
  CLI::App* queue = cli.add_subcommand("queue", "create, look at, change and remove queues");
  queue->require_subcommand(1);
  queue->footer("Example: mqctl queue update orders --max-messages 5000 --lease-duration 2m");
  const auto add = [&](const char* name, const char* text, const char* example, auto run) {
    CLI::App* command = queue->add_subcommand(name, text);
    command->footer("Example: mqctl queue " + std::string(name) + " " + example);
    if (std::string(name) != "list") {
      command->add_option("queue", arguments->name, "[namespace/]name")->required();
    }
    OnCommand(command, globals, [&globals, arguments, run] { return run(globals, *arguments); });
    return command;
  };
  const auto admin_call = [](auto call) {
    return [call](const Globals& given, const QueueArguments& of) -> absl::Status {
      return WithAdmin(given, [&](Admin& admin) { return Show(given, call(admin, of.name)); });
    };
  };
  AddSettings(add("create", "make a queue; nothing happens when it is there and equal",
                  "jobs --max-messages 10000 --overflow-policy block --ordering keyed", Create),
              *arguments);
  add("get", "show settings and counts", "jobs",
      admin_call([](Admin& admin, const std::string& name) { return admin.GetQueue(name); }));
  CLI::App* list = add("list", "show all queues of a namespace", "--prefix order", List);
  list->add_option("--prefix", arguments->prefix, "of the names");
  list->add_option("--namespace", arguments->name_space, "(default)");
  CLI::App* update =
      add("update", "change settings of a live queue", "jobs --default-ttl 1h", Update);
  AddSettings(update, *arguments);
  update->add_option("--reset", arguments->reset, "back to its default; may be repeated")
      ->type_name("SETTING")
      ->allow_extra_args(false);
  add("delete", "remove a queue", "jobs --force", Delete)
      ->add_flag("--force", arguments->force, "even if it holds messages");
  add("purge", "remove every message that is not in flight", "jobs --dedup", Purge)
      ->add_flag("--dedup", arguments->purge_dedup, "forget idempotency keys too");
  add("close", "refuse publishes; consumers drain it and then hear of its end", "jobs",
      admin_call([](Admin& admin, const std::string& name) { return admin.CloseQueue(name); }));
  add("reopen", "take publishes again", "jobs",
      admin_call([](Admin& admin, const std::string& name) { return admin.ReopenQueue(name); }));
  CLI::App* pause =
      add("pause", "refuse publishes and deliver nothing, until resumed", "jobs --consume", Pause);
  pause->add_flag("--publish", arguments->publish, "only refuse publishes");
  pause->add_flag("--consume", arguments->consume, "only deliver nothing");
  add("resume", "end every pause", "jobs", Resume);

  CLI::App* node = cli.add_subcommand("node", "the broker itself");
  node->require_subcommand(1);
  CLI::App* status = node->add_subcommand("status", "version, disk, streams");
  status->footer("Example: mqctl node status");
  OnCommand(status, globals, [&globals] { return Node(globals); });
}

}  // namespace mqd::mqctl
