// A process is stopped, not killed, in the middle of a change (SIGSTOP, a debugger, a frozen container): the
// others wait for it once, and briefly from then on; when it goes on, nothing is lost.
#include "crash.h"
#include "shared_tables.h"

using check::craftedKey;
using check::kNow;
using check::kTier;
using check::openTable;
using check::policyOf;
using check::RegionName;
using check::smallTable;
using sluice::FixedWindow;
using sluice::Outcome;
using sluice::PolicyList;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// Far more than any wait takes on a busy machine.
constexpr std::uint64_t kGivenUpUs = 3'000'000;

// A child that stops at the n-th point of its work.
class Stopped {
 public:
  template <class Algorithm, class Work>
  Stopped(const RegionName& name, int n, Work&& work, std::type_identity<Algorithm>)
      : child_(check::spawn([&] {
          // In a group of its own: a group with a stopped process is hung up on when its shell ends.
          setpgid(0, 0);
          const auto table = openTable<Algorithm>(name);
          check::pointsToLive = n;
          sluice::atCrashPoint = [] {
            if (check::pointsToLive-- == 0) kill(getpid(), SIGSTOP);
          };
          work(*table);
          check::liveOn();
        })) {
    int status = 0;
    CHECK(waitpid(child_, &status, WUNTRACED) == child_);
    stopped_ = WIFSTOPPED(status);
  }
  bool stopped() const { return stopped_; }
  void goOn() {
    kill(child_, SIGCONT);
    CHECK(check::waitFor(child_) == check::End::kFinished);
  }
  void die() {
    kill(child_, SIGKILL);
    CHECK(check::waitFor(child_) == check::End::kKilled);
  }

 private:
  pid_t child_;
  bool stopped_ = false;
};

// The key that the stopped process inserts, one that is there, and one that is not.
template <class Algorithm>
struct Keys {
  explicit Keys(Table<Algorithm>& table)
      : inserted(table, craftedKey(1, 1)),
        present(table, craftedKey(1, 2)),
        absent(table, craftedKey(1, 3)) {}
  check::TableKey<Algorithm> inserted, present, absent;
};

// Everything that needs no lock works, and everything else says that it does not now.
template <class Algorithm>
bool othersAreHeldUpBriefly(Keys<Algorithm>& keys, check::Worst& worst) {
  CHECK_EQ(keys.present.allow(kNow, 1), Outcome::kAllowed);
  CHECK_EQ(keys.absent.peek(kNow).outcome, Outcome::kAllowed);
  Outcome outcome = Outcome::kAllowed;
  worst.time([&] { outcome = keys.absent.allow(kNow, 1); });
  if (outcome == Outcome::kAllowed) return false;
  CHECK_EQ(outcome, Outcome::kBusy);
  worst.time([&] {
    CHECK(!keys.absent.block(kNow, kNow + 1));
    CHECK_EQ(keys.absent.penalize(kNow, 1), 0);
    CHECK_EQ(keys.absent.consume(kNow, 1).outcome, Outcome::kBusy);
  });
  return true;
}

template <class Algorithm>
void stopAtEveryPoint(bool dies) {
  const RegionName name("stopped");
  int points = 0, busy = 0;
  check::Worst worst;
  for (bool stopped = true; stopped; ++points) {
    name.clear();
    const auto table = smallTable<Algorithm>(name);
    Keys<Algorithm> keys(*table);
    CHECK_EQ(keys.present.allow(kNow, 1), Outcome::kAllowed);
    Stopped child(
        name, points, [](Table<Algorithm>& other) { Keys<Algorithm>(other).inserted.allow(kNow, 5); },
        std::type_identity<Algorithm>());
    stopped = child.stopped();
    if (!stopped) break;
    const bool heldUp = othersAreHeldUpBriefly(keys, worst);
    busy += heldUp;
    dies ? child.die() : child.goOn();
    CHECK_EQ(keys.absent.allow(kNow, 1), Outcome::kAllowed);
    const std::uint64_t left = keys.inserted.peek(kNow).remaining;
    CHECK(left == 15 || (dies && left == 20));
    CHECK_EQ(keys.present.peek(kNow).remaining, 18);
    CHECK_EQ(keys.absent.peek(kNow).remaining, heldUp ? 19 : 18);
    CHECK(table->consistent());
  }
  check::note("points", points, "held others up at", busy, "longest, us:", worst.us());
  CHECK(points > 5 && busy >= 5 && worst.us() < kGivenUpUs);
}

}  // namespace

TEST(who_is_stopped_in_a_change_goes_on_as_if_nothing_had_been) {
  stopAtEveryPoint<TokenBucket>(false);
  stopAtEveryPoint<FixedWindow>(false);
}

TEST(who_is_stopped_in_a_change_and_killed_holds_up_nobody) {
  stopAtEveryPoint<TokenBucket>(true);
  stopAtEveryPoint<FixedWindow>(true);
}

TEST(who_is_stopped_while_adding_a_policy_holds_up_others_briefly) {
  const RegionName name("policies");
  int busy = 0;
  for (int point = 0;; ++point) {
    name.clear();
    const auto table = smallTable<TokenBucket>(name);
    const auto spec = policyOf<TokenBucket>(30);
    Stopped child(
        name, point, [&](Table<TokenBucket>& other) { other.addPolicy(spec); },
        std::type_identity<TokenBucket>());
    if (!child.stopped()) break;
    check::Worst worst;
    PolicyList::Added added{};
    worst.time([&] { added = table->addPolicy(spec); });
    CHECK(worst.us() < kGivenUpUs);
    busy += added.status == PolicyList::Added::kBusy;
    CHECK(added.status == PolicyList::Added::kBusy || added.status == PolicyList::Added::kDone);
    CHECK_EQ(Keys<TokenBucket>(*table).present.allow(kNow, 1, kTier), Outcome::kAllowed);
    child.goOn();
    added = table->addPolicy(spec);
    CHECK_EQ(added.status, PolicyList::Added::kDone);
    CHECK_EQ(added.index, kTier + 1);
    CHECK_EQ(table->region()->policies().size(), kTier + 2);
  }
  CHECK(busy >= 2);
}
