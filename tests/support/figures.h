#pragma once

// figures.h: what a reliability test counted, for the table that tests/gate/report.py prints.
//
// Threads:  any; a line is written at once.
// Errors:   std::runtime_error when the file cannot be written; a figure is never lost in silence.

#include <cstdint>
#include <string>

namespace mqd::testing {

struct Figure {
  std::string promise;          // R1 to R27, as in tests/gate/promises.py
  std::uint64_t trials = 0;     // in the unit that promises.py gives
  std::uint64_t confirmed = 0;  // messages, where the test counts any
  std::uint64_t violations = 0;
  std::string note;  // what else is worth a column
};

/// Appends one line of JSON to the file that the environment variable MQD_FIGURES names. Does
/// nothing without it.
void AddFigure(const Figure& figure);

}  // namespace mqd::testing
