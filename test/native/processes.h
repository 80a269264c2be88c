// Child processes, memory to count in together, and regions with names of this program's own.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <new>

#include "core/region.h"
#include "core/table.h"

#include "random.h"

namespace check {

// Runs `work` in a child process, which ends with 0 if no check failed in it. It does not outlive this one.
// REQUIRES that this process has one thread.
template <class Work>
pid_t spawn(Work&& work) {
  const pid_t parent = getpid(), child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  failedChecks = 0;
  work();
  _exit(failedChecks == 0 ? 0 : 1);
}

enum class End : std::uint8_t { kFinished, kKilled, kFailed };

inline End waitFor(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child) return End::kFailed;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return End::kKilled;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? End::kFinished : End::kFailed;
}

// The same work in several processes at once.
inline void raceProcesses(const std::function<void(unsigned process)>& work, unsigned processes) {
  std::vector<pid_t> running;
  for (unsigned i = 0; i < processes; ++i) running.push_back(spawn([&] { work(i); }));
  for (const pid_t child : running) CHECK(waitFor(child) == End::kFinished);
}

// A T that this process and its children see.
template <class T>
class Shared {
 public:
  template <class... Args>
  explicit Shared(Args... args)
      : value_(new (mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                   T(args...)) {}
  ~Shared() { munmap(static_cast<void*>(value_), sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

// Processes that wait for each other before they go on.
class StartLine {
 public:
  explicit StartLine(unsigned processes) : missing_(static_cast<int>(processes)) {}
  void wait() {
    for (missing_.fetch_sub(1); missing_.load() > 0;) std::this_thread::yield();
  }

 private:
  std::atomic<int> missing_;
};

// A name that no other program uses; nothing has it before and after.
class RegionName {
 public:
  explicit RegionName(const std::string& what)
      : text_("native-test-" + std::to_string(getpid()) + '-' + what) {
    clear();
  }
  ~RegionName() { clear(); }
  RegionName(const RegionName&) = delete;
  RegionName& operator=(const RegionName&) = delete;

  const std::string& text() const { return text_; }
  std::string path() const { return "/dev/shm/sluice." + text_; }
  void clear() const {
    ::unlink(path().c_str());
    ::rmdir(path().c_str());
  }

 private:
  std::string text_;
};

template <class Algorithm>
std::unique_ptr<sluice::Table<Algorithm>> openTable(const RegionName& name) {
  return sluice::Table<Algorithm>::attach(sluice::Region::open(name.text()));
}

}  // namespace check
