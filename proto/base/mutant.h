#pragma once

// mutant.h: planted bugs, which prove that the tests would notice. `if (MQD_MUTANT(name))` stands
// where one is, and is a constant false, except in a test build with the CMake option MQD_MUTANTS:
// there it is true when the environment variable MQD_MUTANT is that name. A name that is not in
// the list ends the process. tests/mutants/ says which promise each of them breaks, and which test
// catches it.
//
// Threads: any.

#ifdef MQD_MUTANTS
#include <cstdio>
#include <cstdlib>
#include <string_view>
#endif

// clang-format off
#define MQD_MUTANT_LIST(M) \
  /* the store */ \
  M(confirm_before_commit) M(sync_skipped) M(sync_on_timer_only) M(write_error_ignored) \
  M(unknown_told_as_refused) M(directory_sync_skipped) M(missing_groups_accepted) \
  M(checksum_ignored) M(full_disk_ignored) \
  /* the queue and its way back from disk */ \
  M(settle_record_skipped) M(ack_told_before_commit) M(dedup_in_another_batch) \
  M(dedup_not_read_back) M(producer_record_skipped) M(counters_not_rebuilt) \
  M(attempt_not_written) M(one_attempt_more) M(dead_letter_in_two_batches) M(bound_off_by_one) \
  M(delivery_ids_begin_anew) M(stale_settle_accepted) M(expired_under_a_consumer) \
  M(lease_never_ends) M(extension_forgotten) M(lease_on_the_wall_clock) \
  M(delivery_costs_no_credit) M(returned_goes_to_the_back) M(key_free_before_the_settle) \
  M(lost_stream_keeps_its_messages) \
  /* the streams */ \
  M(publish_credit_lost) M(select_credit_lost) M(stuck_reader_not_held_back) \
  /* the client library */ \
  M(unconfirmed_not_sent_again) M(sent_again_to_a_stranger) M(credit_of_lost_stream_kept)
// clang-format on

namespace mqd::base {

enum class Mutant {
  none,
#define MQD_MUTANT_NAME(name) name,
  MQD_MUTANT_LIST(MQD_MUTANT_NAME)
#undef MQD_MUTANT_NAME
};

#ifdef MQD_MUTANTS

inline Mutant MutantOfTheEnvironment() {
  const char* const text = std::getenv("MQD_MUTANT");
  const std::string_view wanted = text == nullptr ? "" : text;
  if (wanted.empty()) return Mutant::none;
#define MQD_MUTANT_NAME(name) \
  if (wanted == #name) return Mutant::name;
  MQD_MUTANT_LIST(MQD_MUTANT_NAME)
#undef MQD_MUTANT_NAME
  std::fprintf(stderr, "mqd: MQD_MUTANT is no mutant of mqd: %s\n", text);
  std::_Exit(70);
}

inline const Mutant kPlanted = MutantOfTheEnvironment();  // at the start of the process

inline bool IsPlanted(Mutant mutant) { return mutant == kPlanted; }

#else

constexpr bool IsPlanted(Mutant) { return false; }

#endif

}  // namespace mqd::base

#define MQD_MUTANT(name) ::mqd::base::IsPlanted(::mqd::base::Mutant::name)
