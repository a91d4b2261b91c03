#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults.h"

namespace tap::faults {

namespace {

// No destructor and no allocation: this runs inside operator new, and before and after everything else.
struct State {
  std::atomic<Call> call{Call::none};
  std::atomic<std::uint64_t> left{0};
  std::atomic<bool> fired{false};
  int error = 0;
  char path[4096] = "";
  std::atomic<std::uint64_t> draw{0};  // 0: an allocation fails once
};
State state;

// How many allocations succeed before the next failure: some requests get through, and no two meet it at one place.
std::uint64_t next_left() {
  std::uint64_t x = state.draw;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  state.draw = x;
  return 300 + x % 9000;
}

// Counts a call of this kind; true when it is the one that fails.
bool strikes(Call call) {
  if (state.call.load(std::memory_order_relaxed) != call) return false;
  if (state.left.fetch_sub(1) != 1) return false;
  state.fired = true;
  const bool lasts = state.error != 0 && call != Call::allocate;  // a disk that fails goes on failing
  if (lasts)
    state.left = 1;
  else if (call == Call::allocate && state.draw != 0)
    state.left = next_left();
  else
    state.call = Call::none;
  return true;
}

bool below(const char* path) { return std::strncmp(path, state.path, std::strlen(state.path)) == 0; }

bool below(int fd) {
  if (!state.path[0]) return true;
  char link[64], real[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = ::readlink(link, real, sizeof real - 1);
  if (n < 0) return false;
  real[n] = 0;
  return below(real);
}

bool strikes(Call call, int fd) {
  return state.call.load(std::memory_order_relaxed) == call && below(fd) && strikes(call);
}

// `transfer(bytes)` is the system's own call.
template <class Transfer>
ssize_t faulty(Call call, int fd, std::size_t bytes, Transfer&& transfer) {
  if (!strikes(call, fd)) return transfer(bytes);
  if (state.error == 0) return transfer(bytes > 1 ? bytes / 2 : bytes);
  errno = state.error;
  return -1;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (strikes(Call::allocate)) throw std::bad_alloc();
  bytes = bytes ? bytes : 1;
  void* block =
      alignment ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment) : std::malloc(bytes);
  if (!block) throw std::bad_alloc();
  return block;
}

// "CALL:N", "CALL:N:ERROR:PATH"; ERROR is EIO, ENOSPC or short. "new:N:often": one of some thousand from the n-th on.
void arm_from(const char* text) {
  char call[16] = "", error[16] = "EIO";
  unsigned long long nth = 0;
  int at = 0;
  if (std::sscanf(text, "%15[a-z]:%llu%n:%15[A-Za-z]:%n", call, &nth, &at, error, &at) < 2 || nth == 0) {
    std::fprintf(stderr, "TAPETUM_TEST_FAULT=%s: not understood\n", text);
    std::abort();
  }
  constexpr const char* names[] = {"", "read", "pread", "write", "fsync", "rename", "new"};
  for (int i = 1; i < 7; ++i)
    if (std::strcmp(call, names[i]) == 0) {
      std::snprintf(state.path, sizeof state.path, "%s", text[at] ? text + at : "");
      state.error = std::strcmp(error, "short") == 0 ? 0 : std::strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO;
      if (std::strcmp(error, "often") == 0) state.draw = nth;
      state.left = nth;
      state.call = static_cast<Call>(i);
    }
}

int (*program_main)(int, char**, char**);

int armed_main(int count, char** words, char** environment) {
  if (const char* const text = std::getenv("TAPETUM_TEST_FAULT")) arm_from(text);
  const int code = program_main(count, words, environment);
  disarm();
  return code;
}

}  // namespace

void arm(const Fault& fault) {
  std::snprintf(state.path, sizeof state.path, "%s", fault.path.c_str());
  state.error = fault.error;
  state.left = fault.nth;
  state.fired = false;
  state.call = fault.call;
}

void disarm() { state.call = Call::none; }
bool fired() { return state.fired; }

}  // namespace tap::faults

using tap::faults::Call;

#pragma GCC visibility push(default)
extern "C" {

ssize_t read(int fd, void* out, std::size_t bytes) {
  return tap::faults::faulty(Call::read, fd, bytes, [&](std::size_t n) { return ::syscall(SYS_read, fd, out, n); });
}
ssize_t pread(int fd, void* out, std::size_t bytes, off_t offset) {
  return tap::faults::faulty(Call::pread, fd, bytes,
                             [&](std::size_t n) { return ::syscall(SYS_pread64, fd, out, n, offset); });
}
ssize_t pread64(int fd, void* out, std::size_t bytes, off64_t offset) { return pread(fd, out, bytes, offset); }
ssize_t write(int fd, const void* from, std::size_t bytes) {
  return tap::faults::faulty(Call::write, fd, bytes, [&](std::size_t n) { return ::syscall(SYS_write, fd, from, n); });
}
int fsync(int fd) {
  return static_cast<int>(
      tap::faults::faulty(Call::fsync, fd, 0, [&](std::size_t) { return ::syscall(SYS_fsync, fd); }));
}
int rename(const char* from, const char* to) noexcept {
  if (tap::faults::state.call == Call::rename && tap::faults::below(from) && tap::faults::strikes(Call::rename)) {
    errno = tap::faults::state.error;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_rename, from, to));
}

// Arms the program when its main begins: what fails before is no matter of ours.
int __libc_start_main(int (*main_function)(int, char**, char**), int count, char** words, void (*init)(),
                      void (*fini)(), void (*loader_fini)(), void* stack_end) {
  using Start = int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
  const auto start = reinterpret_cast<Start>(::dlsym(RTLD_NEXT, "__libc_start_main"));
  tap::faults::program_main = main_function;
  return start(tap::faults::armed_main, count, words, init, fini, loader_fini, stack_end);
}
}

void* operator new(std::size_t bytes) { return tap::faults::allocate(bytes, 0); }
void* operator new[](std::size_t bytes) { return tap::faults::allocate(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return tap::faults::allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return tap::faults::allocate(bytes, static_cast<std::size_t>(alignment));
}
// As the standard library's own, which a sanitizer's would replace.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return tap::faults::allocate(bytes, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t bytes, const std::nothrow_t& nothrow) noexcept { return operator new(bytes, nothrow); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
#pragma GCC visibility pop
