// Starting another program, with none of our descriptors but those it is given.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace tap {

struct ChildProgram {
  std::string path;
  std::vector<std::string> arguments;            // its name first
  std::vector<std::string> environment;          // NAME=value; nothing else of ours
  std::vector<std::pair<int, int>> descriptors;  // ours, and the numbers above 2 that the program finds them under
  std::string said = "/dev/null";                // the file that its stderr is added to
};

// Gives its process id, or the negated errno. Its stdin and stdout are /dev/null; it is in a process group of its own,
// so that Ctrl-C is ours to take, and its signals are as a program finds them.
pid_t start_child(const ChildProgram& program);
void end_child(pid_t pid);  // kills it and waits until it is gone

}  // namespace tap
