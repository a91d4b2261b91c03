#include "base/child_program.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/fd.h"

namespace tap {

namespace {

constexpr int lowest_fd = 64;  // above the numbers that the program finds its own under

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

struct FileActions {
  posix_spawn_file_actions_t value;
  FileActions() { ::posix_spawn_file_actions_init(&value); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&value); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() {
    ::posix_spawnattr_init(&value);
    ::posix_spawnattr_setflags(&value, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    ::posix_spawnattr_setpgroup(&value, 0);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&value, &none);
    ::posix_spawnattr_setsigdefault(&value, &all);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&value); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
};

}  // namespace

pid_t start_child(const ChildProgram& program) {
  FileActions actions;
  ::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions.value, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions.value, 2, program.said.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  std::vector<Fd> high;  // a number that is another's goal would be overwritten, and dup2 to itself keeps CLOEXEC
  for (const auto& [ours, number] : program.descriptors) {
    high.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, lowest_fd));
    if (high.back().get() < 0) return -errno;
    ::posix_spawn_file_actions_adddup2(&actions.value, high.back().get(), number);
  }
  const Attributes attributes;
  pid_t pid = -1;
  const int failed = ::posix_spawn(&pid, program.path.c_str(), &actions.value, &attributes.value,
                                   pointers(program.arguments).data(), pointers(program.environment).data());
  return failed == 0 ? pid : -failed;
}

void end_child(pid_t pid) {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace tap
