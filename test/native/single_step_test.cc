// A process may die after any instruction. Here each change runs one machine instruction at a time, and every
// state that the shared memory goes through is what a process that died there would have left: a copy of it
// is recovered, and shows all of the change or nothing of it.
#include <sys/ptrace.h>

#include <cerrno>
#include <cstring>

#include "shared_tables.h"

using check::craftedKey;
using check::kDay;
using check::kLimit;
using check::kNow;
using check::kTier;
using check::openTable;
using check::RegionName;
using check::smallTable;
using check::TableKey;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::Layout;
using sluice::Outcome;
using sluice::SlidingLog;
using sluice::StrictWindow;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kKeys = 70;
constexpr std::uint64_t kMuchLater = kNow + 40 * kDay;

// All keys want the same few lines.
template <class Algorithm>
TableKey<Algorithm> keyOf(Table<Algorithm>& table, std::uint64_t number) {
  return {table, craftedKey(static_cast<std::uint32_t>(number % 2), number)};
}

template <class Algorithm>
struct Change {
  const char* name;
  std::uint64_t keys;  // that are there before, by number
  void (*make)(Table<Algorithm>&);
  std::uint64_t nowNs = kNow;
};

template <class Algorithm>
std::vector<Change<Algorithm>> changes() {
  using T = Table<Algorithm>;
  return {
      {"a first key", 0, [](T& t) { keyOf(t, 0).allow(kNow, 3); }},
      {"a key far from home", 40, [](T& t) { keyOf(t, 65).allow(kNow, 3); }},
      {"a key for the least consumed", 64, [](T& t) { keyOf(t, 65).allow(kNow, 3); }},
      {"a key is charged", 40, [](T& t) { keyOf(t, 33).allow(kNow, 1); }},
      {"a key moves to another tier", 40, [](T& t) { keyOf(t, 33).allow(kNow, 1, kTier); }},
      {"a key is blocked", 40, [](T& t) { keyOf(t, 33).block(kNow, kNow + kDay); }},
      {"a key is forgotten", 40, [](T& t) { keyOf(t, 33).reset(kNow); }},
      {"keys of the past are reclaimed", 64, [](T& t) { keyOf(t, 65).allow(kMuchLater, 3); }, kMuchLater},
      {"the limit is changed", 40, [](T& t) { t.setBasePolicy(check::policyOf<Algorithm>(kLimit / 2)); }},
  };
}

// What anybody can see.
template <class Algorithm>
std::vector<std::uint64_t> look(Table<Algorithm>& table, std::uint64_t nowNs) {
  std::vector<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < kKeys; ++i) {
    const Decision decision = keyOf(table, i).peek(nowNs, table.basePolicy());
    seen.insert(seen.end(), {static_cast<std::uint64_t>(decision.outcome), decision.remaining,
                             decision.retryAfterNs, decision.resetAfterNs});
  }
  return seen;
}

// Two regions alike: in one the change is made, in the other one its states are recovered.
template <class Algorithm>
class Stepping {
 public:
  explicit Stepping(const Change<Algorithm>& change)
      : change_(change), original_(smallTable<Algorithm>(name_)), copy_(smallTable<Algorithm>(copyName_)) {
    for (std::uint64_t i = 0; i < change.keys; ++i) keyOf(*original_, i).allow(kNow, 1 + i % 7);
    takeCopy();
    before_ = look(*original_, change.nowNs);
    CHECK(look(*copy_, change.nowNs) == before_);
    change.make(*copy_);
    after_ = look(*copy_, change.nowNs);
    takeCopy();
  }

  void run() {
    const pid_t child = check::spawn([&] { makeTraced(); });
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (!CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP)) return;
    std::uint64_t instructions = 0, states = 0;
    for (; step(child); ++instructions) {
      if (std::memcmp(last_.data(), changing(*original_), last_.size()) == 0) continue;
      ++states;
      if (!recovers()) return check::note(change_.name, Algorithm::kId, "after instruction", instructions);
    }
    CHECK(look(*original_, change_.nowNs) == after_);
    CHECK(states > 0);
    check::note(change_.name, Algorithm::kId, "instructions", instructions, "states", states);
  }

 private:
  void makeTraced() {
    const auto table = openTable<Algorithm>(name_);
    CHECK(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0);
    raise(SIGSTOP);
    change_.make(*table);
    _exit(0);  // before the table is left, and this process's destructors run
  }

  // False when the child is done.
  static bool step(pid_t child) {
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0)
      return check::fail(__FILE__, __LINE__, std::string("ptrace: ") + std::strerror(errno));
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSTOPPED(status);
  }

  // Everything behind the header.
  static std::byte* changing(const Table<Algorithm>& table) {
    return reinterpret_cast<std::byte*>(&table.region()->policies());
  }
  void takeCopy() {
    last_.resize(original_->bytes() - Layout::kPolicies);
    std::memcpy(last_.data(), changing(*original_), last_.size());
    std::memcpy(changing(*copy_), last_.data(), last_.size());
  }

  // Nobody has the child's place in the copy, so there it is dead.
  bool recovers() {
    takeCopy();
    check::takeLock(*copy_);
    const auto seen = look(*copy_, change_.nowNs);
    const bool held = CHECK(copy_->consistent()) && CHECK(seen == before_ || seen == after_);
    return held && CHECK(copy_->setBasePolicy(check::policyOf<Algorithm>(7)).status ==
                         sluice::PolicyList::Added::kDone);
  }

  RegionName name_{"stepped"}, copyName_{"copy"};
  const Change<Algorithm>& change_;
  std::unique_ptr<Table<Algorithm>> original_, copy_;
  std::vector<std::byte> last_;
  std::vector<std::uint64_t> before_, after_;
};

template <class Algorithm>
void stepThrough() {
  for (const Change<Algorithm>& change : changes<Algorithm>()) {
    Stepping<Algorithm>(change).run();
    if (check::failedChecks != 0) return;
    // A sanitizer's own instructions are a hundred times as many as ours, and show nothing more.
    if (SLUICE_TEST_SLOWDOWN > 1) return check::note("under a sanitizer: only", change.name);
  }
}

}  // namespace

TEST(a_token_bucket_may_die_after_any_instruction) { stepThrough<TokenBucket>(); }
TEST(a_fixed_window_may_die_after_any_instruction) { stepThrough<FixedWindow>(); }
TEST(a_sliding_log_may_die_after_any_instruction) { stepThrough<SlidingLog>(); }
TEST(a_strict_window_may_die_after_any_instruction) { stepThrough<StrictWindow>(); }
