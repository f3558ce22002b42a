#include "tests/support/figures.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace mqd::testing {

void AddFigure(const Figure& figure) {
  const char* path = std::getenv("MQD_FIGURES");
  if (path == nullptr || *path == '\0') return;
  const nlohmann::ordered_json json = {{"promise", figure.promise},
                                       {"trials", figure.trials},
                                       {"confirmed", figure.confirmed},
                                       {"violations", figure.violations},
                                       {"note", figure.note}};
  const std::string line = json.dump() + '\n';
  // One write of a short line to a file opened for appending is not mixed with that of another.
  const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  const ssize_t written = file < 0 ? -1 : write(file, line.data(), line.size());
  if (file >= 0) close(file);
  if (written != static_cast<ssize_t>(line.size())) {
    throw std::runtime_error("the figure could not be written to " + std::string(path));
  }
}

}  // namespace mqd::testing
