// Sets of limits of all algorithms against the same calls made one by one: admitted if all admit, and then
// spent everywhere; else spent nowhere.
#include "set_twins.h"

#include <array>

using check::Random;
using check::SetCall;
using check::setKey;
using check::Twin;
using sluice::Decision;
using sluice::kNsPerSecond;
using sluice::LimitSeat;
using sluice::LimitSet;
using sluice::Outcome;
using sluice::Seat;
using sluice::Table;
using sluice::TokenBucket;
using sluice::Verdict;

namespace {

constexpr std::size_t kMost = 8;
constexpr std::uint64_t kStart = 1'000'000 * kNsPerSecond;

using Outcomes = std::array<Outcome, kMost>;
using Decisions = std::array<Decision, kMost>;

// How often each outcome was seen of a limit, and of the sets.
struct Seen {
  std::array<std::uint64_t, 6> outcomes{};
  std::uint64_t admitted = 0, refused = 0;
};

class Schedule {
 public:
  Schedule(std::uint64_t seed, Seen& seen) : random_(seed), seen_(seen) {
    const std::uint64_t count = random_.between(2, kMost);
    std::vector<Seat*> seats;
    check::presentNs = nowNs_;
    // Their places among all tables are not those in the set.
    for (std::uint64_t i = 0; i < count; ++i) {
      limits_.push_back(check::anyTwin(random_.oneIn(2) ? 100 + i : 100 - i, random_));
      seats.push_back(&limits_.back()->seat());
    }
    set_ = LimitSet::of(std::move(seats));
    CHECK(set_.has_value());
    calls_.resize(count);
  }

  bool run(int steps) {
    for (int i = 0; i < steps; ++i) {
      pass();
      prepare();
      if (!step()) return check::fail(__FILE__, __LINE__, "step " + std::to_string(i));
      const bool all = i % 50 == 0;
      for (std::size_t j = 0; j < limits_.size(); ++j) {
        const std::uint64_t first = all ? 0 : calls_[j].key;
        if (!limits_[j]->isSame(nowNs_, first, all ? Twin::kKeys : 1) && !blame(j))
          return check::fail(__FILE__, __LINE__, "after step " + std::to_string(i));
      }
    }
    return true;
  }

 private:
  // Time goes on, or a caller is late, or the clock is set back.
  void pass() {
    if (random_.oneIn(2)) nowNs_ += random_.magnitude(20 * kNsPerSecond);
    if (random_.oneIn(20)) nowNs_ -= random_.below(9 * kNsPerSecond);
    if (random_.oneIn(200)) nowNs_ -= random_.below(200 * kNsPerSecond);
    check::presentNs = nowNs_;
  }

  std::uint64_t anyKey() { return random_.oneIn(4) ? random_.below(Twin::kKeys) : random_.below(4); }

  void prepare() {
    const std::uint64_t key = anyKey(), cost = random_.below(4);
    const bool sameForAll = random_.oneIn(2);
    for (SetCall& call : calls_) {
      call = {nowNs_, key, cost, static_cast<std::uint32_t>(random_.below(Twin::kPolicies))};
      if (sameForAll) continue;
      call.key = anyKey();
      call.cost = random_.oneIn(20) ? 31 : random_.below(4);
    }
  }

  bool step() {
    const std::uint64_t kind = random_.below(10);
    if (kind < 3) {
      const std::size_t which = random_.below(limits_.size());
      doing_ = "something else";
      return limits_[which]->disturb(random_, calls_[which]);
    }
    return kind < 6 ? charge() : kind < 9 ? allow() : peek();
  }

  // Makes the calls one by one, and takes back what is not to stay. Whether all were admitted.
  bool callOneByOne(bool asAllow, bool spends) {
    bool admitted = true;
    for (std::size_t i = 0; i < limits_.size(); ++i) {
      expected_[i] = asAllow ? limits_[i]->allowAlone(calls_[i]) : limits_[i]->consumeAlone(calls_[i]);
      admitted = admitted && expected_[i].outcome == Outcome::kAllowed;
    }
    for (std::size_t i = 0; i < limits_.size(); ++i) {
      ++seen_.outcomes[static_cast<std::size_t>(expected_[i].outcome)];
      // (By itself, a call that finds no place sweeps a line.)
      const bool stays = admitted || (expected_[i].outcome != Outcome::kAllowed &&
                                      expected_[i].outcome != Outcome::kTableFull);
      if (!spends || !stays) limits_[i]->undo();
    }
    ++(admitted ? seen_.admitted : seen_.refused);
    return admitted;
  }

  bool charge() {
    doing_ = "charge";
    const bool admitted = callOneByOne(false, true);
    for (std::size_t i = 0; i < limits_.size(); ++i) limits_[i]->aim(calls_[i]);
    CHECK_EQ(set_->charge(outcomes_.data(), decisions_.data()), admitted);
    return answersAreRight(admitted);
  }

  bool peek() {
    doing_ = "peek";
    const bool admitted = callOneByOne(false, false);
    for (std::size_t i = 0; i < limits_.size(); ++i) limits_[i]->aim(calls_[i]);
    CHECK_EQ(set_->peek(outcomes_.data(), decisions_.data()), admitted);
    return answersAreRight(false);
  }

  bool answersAreRight(bool admitted) {
    bool right = true;
    for (std::size_t i = 0; i < limits_.size(); ++i) {
      const Decision& seen = decisions_[i];
      right = right && CHECK_EQ(outcomes_[i], seen.outcome);
      // Who only asks is not punished.
      if (limits_[i]->punishes && seen.outcome == Outcome::kLimited) continue;
      if (admitted || expected_[i].outcome != Outcome::kAllowed) {
        right = right && check::sameAnswer(seen, expected_[i]);
        if (!right) return blame(i);
        continue;
      }
      // It would have been admitted, and nothing was spent.
      Decision unspent = limits_[i]->peekAlone(calls_[i]);
      unspent.outcome = Outcome::kAllowed;
      unspent.retryAfterNs = 0;
      unspent.delayNs = expected_[i].delayNs;
      right = right && check::sameAnswer(seen, unspent);
      if (!right) return blame(i);
    }
    return right;
  }

  bool blame(std::size_t which) {
    const SetCall& call = calls_[which];
    check::note(doing_, "algorithm", limits_[which]->algorithm, "outcome", expected_[which].outcome, "key",
                call.key, "cost", call.cost, "policy", call.policy, "at", call.nowNs);
    return false;
  }

  // The way without locks and the way with them, as it comes.
  bool allow() {
    doing_ = "allow";
    const bool admitted = callOneByOne(true, true);
    const std::uint64_t slackNs = random_.oneIn(2) ? 0 : random_.below(4 * sluice::kNsPerMs);
    const bool isShared = random_.oneIn(3);
    for (std::size_t i = 0; i < limits_.size(); ++i) {
      limits_[i]->share(isShared && random_.oneIn(2));
      limits_[i]->aimWithin(calls_[i], slackNs);
    }
    bool right = CHECK_EQ(set_->allow(outcomes_.data()), admitted);
    for (std::size_t i = 0; i < limits_.size(); ++i) {
      limits_[i]->share(false);
      if (!CHECK_EQ(outcomes_[i], expected_[i].outcome)) right = blame(i);
    }
    return right;
  }

  Random random_;
  Seen& seen_;
  std::vector<std::unique_ptr<Twin>> limits_;
  std::optional<LimitSet> set_;
  std::vector<SetCall> calls_;
  std::uint64_t nowNs_ = kStart;
  const char* doing_ = "";
  Outcomes outcomes_{};
  Decisions decisions_{}, expected_{};
};

// A limit that does as it is told.
class Puppet : public Seat {
 public:
  bool isHoldable = true, wasUnspent = false;
  Outcome outcome = Outcome::kAllowed;
  int commits = 0, punishments = 0;

  Verdict::Kind glance(bool*) override { return Verdict::Kind::kAdmit; }
  bool spend() override { return false; }
  void unspend() override { wasUnspent = true; }
  void count(bool) override {}
  std::uint64_t order() const override { return 77; }
  bool hold() override { return isHoldable; }
  Outcome judge() override { return outcome; }
  void commit() override { ++commits; }
  Decision describe() const override { return {outcome}; }
  void letGo() override {}
  std::optional<Decision> punish() override {
    ++punishments;
    return std::nullopt;
  }
};

struct Bucket {
  explicit Bucket(std::uint64_t id)
      : table(check::tableOfLimit<TokenBucket>(id, check::inWindow(10, 1000 * kNsPerSecond), 10)),
        seat(*table, check::readsPresent()),
        frame(TokenBucket::frame(table->book(), 0, kStart, kStart)) {
    check::presentNs = kStart;
  }
  void aim(bool byFrame) { seat.aim(setKey(1), 0, kStart, 1, byFrame ? &frame : nullptr, byFrame); }
  // Of the key's slot: each time it is held it rises by one.
  std::uint64_t generation() const {
    for (std::uint32_t i = 0; i < table->geometry().linesPerStripe; ++i) {
      for (const sluice::Slot& slot : table->region()->lines()[i].slots) {
        if (slot.loadKey().fingerprint() == setKey(1).fingerprint) return slot.loadState().bits & 15;
      }
    }
    return check::fail(__FILE__, __LINE__, "the key is not there");
  }
  std::uint64_t left() { return check::TableKey<TokenBucket>(*table, setKey(1)).peek(kStart).remaining; }

  std::unique_ptr<Table<TokenBucket>> table;
  LimitSeat<TokenBucket> seat;
  TokenBucket::Frame frame;
};

}  // namespace

TEST(sets_do_what_the_same_calls_do_one_by_one) {
  Random random = check::seeded("limit sets", 1);
  Seen seen;
  for (int i = 0; i < check::scaled(200); ++i) {
    const std::uint64_t seed = random.next();
    if (!Schedule(seed, seen).run(400)) return check::note("schedule", i, "seed", seed);
  }
  check::note("admitted", seen.admitted, "refused", seen.refused, "table full",
              seen.outcomes[static_cast<std::size_t>(Outcome::kTableFull)]);
  for (const Outcome outcome :
       {Outcome::kLimited, Outcome::kTooCostly, Outcome::kBlocked, Outcome::kTableFull})
    CHECK(seen.outcomes[static_cast<std::size_t>(outcome)] > 100 / SLUICE_TEST_SLOWDOWN);
  CHECK(seen.admitted > 1000 / SLUICE_TEST_SLOWDOWN && seen.refused > 1000 / SLUICE_TEST_SLOWDOWN);
}

// Without locks only as long as nobody else could see the half of it.
TEST(keys_are_held_as_soon_as_somebody_else_has_one_of_the_tables) {
  Bucket first(1), second(2);
  auto set = LimitSet::of({&first.seat, &second.seat});
  Outcomes outcomes{};
  const auto allow = [&] {
    for (Bucket* bucket : {&first, &second}) bucket->aim(true);
    CHECK(set->allow(outcomes.data()));
  };
  allow();
  for (Bucket* shared : {&first, &second}) {
    const std::uint64_t before = first.generation(), alsoBefore = second.generation();
    allow();
    CHECK_EQ(first.generation(), before);
    CHECK_EQ(second.generation(), alsoBefore);
    const auto other = Table<TokenBucket>::attach(sluice::Region::attach(shared->table->region()));
    allow();
    CHECK_EQ(first.generation(), (before + 1) % 16);
    CHECK_EQ(second.generation(), (alsoBefore + 1) % 16);
  }
  CHECK_EQ(first.left(), 5);
  CHECK_EQ(second.left(), 5);
}

TEST(what_was_spent_is_given_back_if_one_cannot_spend_any_more) {
  for (const Outcome outcome : {Outcome::kAllowed, Outcome::kLimited}) {
    Bucket first(1), second(2);
    Puppet last;
    last.outcome = outcome;
    auto set = LimitSet::of({&first.seat, &second.seat, &last});
    Outcomes outcomes{};
    Decisions decisions{};
    last.outcome = Outcome::kAllowed;
    for (Bucket* bucket : {&first, &second}) bucket->aim(false);
    CHECK(set->charge(outcomes.data(), decisions.data()));  // now the keys are there
    CHECK_EQ(last.commits, 1);
    last.outcome = outcome;
    for (Bucket* bucket : {&first, &second}) bucket->aim(true);
    const bool admits = outcome == Outcome::kAllowed;
    CHECK_EQ(set->allow(outcomes.data()), admits);
    CHECK_EQ(outcomes[2], outcome);
    CHECK(!last.wasUnspent);
    CHECK_EQ(last.punishments, admits ? 0 : 1);
    for (Bucket* bucket : {&first, &second}) CHECK_EQ(bucket->left(), admits ? 8 : 9);
  }
}

TEST(if_one_cannot_be_held_nothing_is_done) {
  Bucket bucket(1);
  Puppet stuck;
  stuck.isHoldable = false;
  auto set = LimitSet::of({&bucket.seat, &stuck});
  Outcomes outcomes{};
  Decisions decisions{};
  bucket.aim(false);
  CHECK(!set->charge(outcomes.data(), decisions.data()));
  for (std::size_t i = 0; i < 2; ++i) CHECK_EQ(outcomes[i], Outcome::kBusy);
  CHECK_EQ(decisions[0].outcome, Outcome::kBusy);
  CHECK_EQ(decisions[0].retryAfterNs, sluice::kBusyRetryNs);
  CHECK_EQ(stuck.commits, 0);
  CHECK_EQ(bucket.left(), 10);
  // And it was let go.
  stuck.isHoldable = true;
  bucket.aim(false);
  CHECK(set->charge(outcomes.data(), decisions.data()));
  CHECK_EQ(bucket.left(), 9);
}

TEST(a_table_is_in_a_set_only_once) {
  Bucket one(1), other(2);
  LimitSeat<TokenBucket> again(*one.table, {});
  CHECK(!LimitSet::of({&one.seat, &again}).has_value());
  CHECK(!LimitSet::of({&one.seat, &other.seat, &again}).has_value());
  CHECK(LimitSet::of({&one.seat, &other.seat}).has_value());
}
