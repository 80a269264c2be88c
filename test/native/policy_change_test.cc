// Limits that are changed in flight: what each key has left afterwards, against exact arithmetic.
#include <deque>

#include "core/fixed_window.h"
#include "core/token_bucket.h"

#include "table_keys.h"

using check::craftedKey;
using check::Random;
using sluice::Decision;
using sluice::FixedWindow;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::PolicyList;
using sluice::PolicySpec;
using sluice::Table;
using sluice::TokenBucket;

namespace {

constexpr std::uint64_t kStart = 1000 * kNsPerSecond;

// A bucket in ten-thousandths of a token, at whole milliseconds; rates come out whole. A key keeps what it
// has left when the limiter's own policy grows, and what it has spent when it shrinks, or when another tier
// asks.
class ModelKey {
 public:
  static constexpr std::uint64_t kUnit = 10'000;
  struct Answer {
    Outcome outcome;
    std::uint64_t remaining, retryAfterNs;
  };

  void advance(std::uint64_t ms) { spent_ = sluice::saturatingSub(spent_, ratePerMs(*drain_) * ms); }
  void start(const PolicySpec& spec) { drain_ = &spec; }

  Answer charge(const PolicySpec& asked, std::uint64_t cost, bool spends) {
    const std::uint64_t spent = under(asked), capacity = asked.burst * kUnit;
    Outcome outcome = Outcome::kAllowed;
    if (cost > asked.burst)
      outcome = Outcome::kTooCostly;
    else if (spent + cost * kUnit > capacity && cost != 0)
      outcome = Outcome::kLimited;
    if (outcome == Outcome::kAllowed && cost != 0 && spends)
      become(asked, spent + cost * kUnit);
    else if (changesBase(asked) && (outcome != Outcome::kAllowed || spends))
      become(asked, spent);
    std::uint64_t retryAfterNs = outcome == Outcome::kTooCostly ? sluice::kNever : 0;
    if (outcome == Outcome::kLimited)
      retryAfterNs = (spent_ - (capacity - cost * kUnit)) * kNsPerMs / ratePerMs(*drain_);
    return {outcome, sluice::saturatingSub(capacity, under(asked)) / kUnit, retryAfterNs};
  }
  std::uint64_t penalize(const PolicySpec& asked, std::uint64_t tokens) {
    const std::uint64_t spent = under(asked);
    const std::uint64_t taken = std::min(tokens * kUnit, sluice::saturatingSub(asked.burst * kUnit, spent));
    if (taken != 0) become(asked, spent + taken);
    return taken / kUnit;
  }
  std::uint64_t refund(const PolicySpec& asked, std::uint64_t tokens) {
    const std::uint64_t spent = changesBase(asked) ? under(asked) : spent_;
    const std::uint64_t credit = std::min(tokens * kUnit, spent);
    if (credit != 0) become(changesBase(asked) ? asked : *drain_, spent - credit);
    return credit / kUnit;
  }

 private:
  static std::uint64_t ratePerMs(const PolicySpec& spec) {
    return spec.limit * kUnit / (spec.windowNs / kNsPerMs);
  }
  bool changesBase(const PolicySpec& asked) const {
    return asked.isBase != 0 && drain_->isBase != 0 && !(asked == *drain_) && spent_ != 0;
  }
  std::uint64_t under(const PolicySpec& asked) const {
    if (!changesBase(asked)) return spent_;
    return std::min(spent_ + sluice::saturatingSub(asked.burst, drain_->burst) * kUnit, asked.burst * kUnit);
  }
  void become(const PolicySpec& asked, std::uint64_t spent) {
    drain_ = &asked;
    spent_ = spent;
  }

  const PolicySpec* drain_ = nullptr;
  std::uint64_t spent_ = 0;
};

PolicySpec randomSpec(Random& random) {
  constexpr std::uint64_t kLimits[] = {1, 2, 5, 10, 100};
  return {kLimits[random.below(5)], random.oneIn(2) ? kNsPerSecond : 10 * kNsPerSecond, random.between(1, 60),
          0};
}

// A table whose base policy changes all the time, with one tier that does not.
class Changing {
 public:
  explicit Changing(Random& random) : random_(random) {
    sluice::RegionSpec region;
    region.algorithm = TokenBucket::kId;
    region.maxKeys = 40;
    region.seed = check::hashSeed(1);
    region.base = specs_.emplace_back(randomSpec(random));
    region.base.isBase = specs_[0].isBase = 1;
    table_ = Table<TokenBucket>::attach(sluice::Region::allocate(region));
    specs_.push_back(randomSpec(random));
    tier_ = table_->addPolicy(specs_[1]).index;
    for (ModelKey& model : models_) model.start(specs_[0]);
    CHECK_EQ(tier_, 1);
  }

  bool step() {
    if (random_.oneIn(10)) changeBase();
    if (random_.oneIn(3)) advance(random_.magnitude(2000));
    const std::size_t which = random_.below(std::size(models_));
    check::TableKey<TokenBucket> key(*table_, craftedKey(static_cast<std::uint32_t>(which), which));
    ModelKey& model = models_[which];
    const std::uint32_t asked = random_.oneIn(4) ? tier_ : table_->basePolicy();
    const PolicySpec& spec = specs_[asked];
    const std::uint64_t amount = random_.below(spec.burst + 2);
    switch (random_.below(6)) {
      case 0:
        return CHECK_EQ(key.penalize(nowNs_, amount, asked), model.penalize(spec, amount));
      case 1:
        return CHECK_EQ(key.refund(nowNs_, amount / 2, 0, asked), model.refund(spec, amount / 2));
      case 2:
        return peek(key, model, asked);
      default:
        return same(key.consume(nowNs_, amount, asked), model.charge(spec, amount, true)) &&
               peek(key, model, asked);
    }
  }

 private:
  void advance(std::uint64_t ms) {
    nowNs_ += ms * kNsPerMs;
    for (ModelKey& model : models_) model.advance(ms);
  }

  void changeBase() {
    PolicySpec spec = random_.oneIn(3) ? specs_[random_.below(specs_.size())] : randomSpec(random_);
    CHECK_EQ(table_->setBasePolicy(spec).status, PolicyList::Added::kDone);
    spec.isBase = 1;
    if (table_->basePolicy() == specs_.size()) specs_.push_back(spec);
    CHECK(table_->basePolicy() < specs_.size() && specs_[table_->basePolicy()] == spec);
  }

  // And if the answer is to wait, that is exact.
  bool peek(check::TableKey<TokenBucket>& key, ModelKey& model, std::uint32_t asked) {
    const Decision seen = key.peek(nowNs_, asked);
    if (!same(seen, model.charge(specs_[asked], 1, false))) return false;
    if (seen.outcome != Outcome::kLimited) return true;
    return CHECK_EQ(key.peek(nowNs_ + seen.retryAfterNs - 1, asked).outcome, Outcome::kLimited) &&
           CHECK_EQ(key.peek(nowNs_ + seen.retryAfterNs, asked).outcome, Outcome::kAllowed);
  }

  static bool same(const Decision& actual, const ModelKey::Answer& expected) {
    return CHECK_EQ(actual.outcome, expected.outcome) && CHECK_EQ(actual.remaining, expected.remaining) &&
           CHECK_EQ(actual.retryAfterNs, expected.retryAfterNs);
  }

  Random& random_;
  std::deque<PolicySpec> specs_;
  std::unique_ptr<Table<TokenBucket>> table_;
  std::uint32_t tier_ = 0;
  std::uint64_t nowNs_ = kStart;
  ModelKey models_[8];
};

// A table with a key that has spent that much of that burst; one token a day, so that nothing refills.
struct Fixture {
  Fixture(std::uint64_t burst, std::uint64_t spent)
      : table(check::makeTable<TokenBucket>(40, 1, {})), key(*table, craftedKey(1, 1)) {
    change(burst);
    CHECK_EQ(key.allow(kStart, spent, table->basePolicy()), Outcome::kAllowed);
  }
  void change(std::uint64_t burst) {
    CHECK_EQ(table->setBasePolicy({1, 86'400 * kNsPerSecond, burst, 0}).status, PolicyList::Added::kDone);
  }
  Decision peek(std::uint64_t nowNs = kStart) { return key.peek(nowNs, table->basePolicy()); }

  std::unique_ptr<Table<TokenBucket>> table;
  check::TableKey<TokenBucket> key;
};

}  // namespace

TEST(a_higher_limit_hands_out_nothing) {
  for (std::uint64_t burst = 1; burst <= 12; ++burst) {
    for (std::uint64_t spent = 1; spent <= burst; ++spent) {
      for (std::uint64_t higher = burst; higher <= 30; ++higher) {
        Fixture fixture(burst, spent);
        fixture.change(higher);
        CHECK_EQ(fixture.peek().remaining, burst - spent);
        std::uint64_t admitted = 0;
        while (fixture.key.allow(kStart, 1, fixture.table->basePolicy()) == Outcome::kAllowed) ++admitted;
        if (!CHECK_EQ(admitted, burst - spent)) return check::note("burst", burst, spent, "to", higher);
      }
    }
  }
}

TEST(a_lower_limit_counts_what_was_spent) {
  for (std::uint64_t burst = 1; burst <= 20; ++burst) {
    for (std::uint64_t spent = 1; spent <= burst; ++spent) {
      for (std::uint64_t lower = 1; lower <= burst; ++lower) {
        Fixture fixture(burst, spent);
        fixture.change(lower);
        if (!CHECK_EQ(fixture.peek().remaining, sluice::saturatingSub(lower, spent)))
          return check::note("burst", burst, spent, "to", lower);
      }
    }
  }
}

// Whatever the order of changes, and whoever looks in between: nothing is handed out on the way.
TEST(no_chain_of_changes_hands_out_anything) {
  Random random = check::seeded("policy_change chains", 1);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const std::uint64_t burst = random.between(1, 40), spent = random.between(1, burst);
    Fixture fixture(burst, spent);
    std::uint64_t left = burst - spent;
    for (int change = 0; change < 10; ++change) {
      fixture.change(random.between(1, 40));
      const std::uint64_t now = fixture.peek().remaining;
      if (random.oneIn(2) && fixture.key.allow(kStart, 1, fixture.table->basePolicy()) == Outcome::kAllowed)
        --left;
      if (!CHECK(fixture.peek().remaining <= left && now <= left + 1)) return check::note("iteration", i);
    }
  }
}

TEST(a_full_bucket_is_full_under_the_new_limit) {
  Fixture fixture(10, 1);
  CHECK(fixture.key.reset(kStart));
  fixture.change(25);
  CHECK_EQ(fixture.peek().remaining, 25);
}

TEST(changes_agree_with_exact_arithmetic) {
  Random random = check::seeded("policy_change model", 2);
  for (int i = 0; i < check::scaled(2000); ++i) {
    Changing changing(random);
    for (int step = 0; step < 300; ++step) {
      if (!changing.step()) return check::note("table", i, "step", step);
    }
  }
}

// A block that was laid on a key before the change ends when it should, and what is left then is no more than
// before it.
TEST(a_block_outlives_a_change) {
  for (const std::uint64_t burst : {5U, 10U, 40U}) {
    Fixture fixture(10, 4);
    CHECK(fixture.key.block(kStart, kStart + kNsPerSecond, fixture.table->basePolicy()));
    fixture.change(burst);
    CHECK_EQ(fixture.peek().outcome, Outcome::kBlocked);
    CHECK_EQ(fixture.peek().retryAfterNs, kNsPerSecond);
    CHECK_EQ(fixture.peek(kStart + kNsPerSecond - 1).outcome, Outcome::kBlocked);
    const std::uint64_t left = fixture.peek(kStart + kNsPerSecond).remaining,
                        exact = burst < 10 ? burst - 4 : 6;
    CHECK(left <= exact && left + 1 >= exact);
    CHECK_EQ(fixture.key.penalize(kStart, 2, fixture.table->basePolicy()), 2 - (left < 2 ? 2 - left : 0));
    CHECK(fixture.peek(kStart + kNsPerSecond).remaining <= exact - std::min<std::uint64_t>(exact, 2));
  }
}

// Rates of every magnitude: rounding may take one token's last unit, and never gives.
TEST(rounding_takes_and_never_gives) {
  Random random = check::seeded("policy_change rounding", 3);
  const auto anySpec = [&]() -> PolicySpec {
    const std::uint64_t windowNs = random.magnitude(3600 * kNsPerSecond);
    return {random.magnitude(std::min<std::uint64_t>(windowNs, 1'000'000)), windowNs,
            random.magnitude(1'000'000), 0};
  };
  for (int i = 0; i < check::scaled(50'000); ++i) {
    const auto table = check::makeTable<TokenBucket>(1, 1, {});
    check::TableKey<TokenBucket> key(*table, craftedKey(1, 1));
    const PolicySpec from = anySpec(), to = anySpec();
    const std::uint64_t nowNs = kStart + random.below(kStart);
    if (table->setBasePolicy(from).status != PolicyList::Added::kDone) continue;
    key.penalize(nowNs, random.between(1, from.burst), table->basePolicy());
    const std::uint64_t laterNs = nowNs + random.below(from.windowNs / from.limit + 1);
    const Decision before = key.peek(laterNs, table->basePolicy());
    if (before.resetAfterNs == 0 || table->setBasePolicy(to).status != PolicyList::Added::kDone) continue;
    const Decision after = key.peek(laterNs, table->basePolicy());
    const std::uint64_t exact = to.burst >= from.burst
                                    ? before.remaining
                                    : sluice::saturatingSub(to.burst, from.burst - before.remaining);
    if (!CHECK(after.remaining <= exact && after.remaining + 1 >= exact)) return check::note("iteration", i);
    if (after.outcome != Outcome::kLimited) continue;
    CHECK_EQ(key.peek(laterNs + after.retryAfterNs - 1, table->basePolicy()).outcome, Outcome::kLimited);
    if (!CHECK_EQ(key.peek(laterNs + after.retryAfterNs, table->basePolicy()).outcome, Outcome::kAllowed))
      return check::note("iteration", i);
  }
}

TEST(a_window_keeps_its_count_under_a_new_limit) {
  for (std::uint64_t spent = 1; spent <= 20; ++spent) {
    for (std::uint64_t limit = 1; limit <= 40; ++limit) {
      const auto table = check::makeTable<FixedWindow>(
          40, 1, *FixedWindow::Book::make(kNsPerSecond, 40, FixedWindow::Align::kFirstRequest));
      check::TableKey<FixedWindow> key(*table, craftedKey(1, 1));
      CHECK_EQ(table->setBasePolicy({20, 0, 0, 0}).status, PolicyList::Added::kDone);
      CHECK_EQ(key.allow(kStart, spent, table->basePolicy()), Outcome::kAllowed);
      CHECK_EQ(table->setBasePolicy({limit, 0, 0, 0}).status, PolicyList::Added::kDone);
      const Decision seen = key.peek(kStart, table->basePolicy());
      CHECK_EQ(seen.remaining, sluice::saturatingSub(limit, spent));
      CHECK_EQ(seen.outcome, spent < limit ? Outcome::kAllowed : Outcome::kLimited);
      if (seen.outcome == Outcome::kLimited) {
        CHECK_EQ(key.peek(kStart + seen.retryAfterNs - 1, table->basePolicy()).outcome, Outcome::kLimited);
        CHECK_EQ(key.peek(kStart + seen.retryAfterNs, table->basePolicy()).outcome, Outcome::kAllowed);
      }
      CHECK_EQ(key.peek(kStart + seen.resetAfterNs, table->basePolicy()).remaining, limit);
    }
  }
}

TEST(what_cannot_be_counted_is_refused_and_changes_nothing) {
  Fixture fixture(10, 4);
  const std::uint32_t base = fixture.table->basePolicy();
  for (const PolicySpec& spec : std::vector<PolicySpec>{
           {0, 1, 1, 0}, {1, 0, 1, 0}, {1, 1, 0, 0}, {2, 1, 1, 0}, {1, ~std::uint64_t{0}, 1, 0}})
    CHECK_EQ(fixture.table->setBasePolicy(spec).status, PolicyList::Added::kUncountable);
  CHECK_EQ(fixture.table->basePolicy(), base);
  CHECK_EQ(fixture.peek().remaining, 6);
}

TEST(there_is_an_end_to_policies) {
  Fixture fixture(10, 4);
  PolicyList::Added added{};
  for (std::uint64_t burst = 100; fixture.table->book().size() < PolicyList::kMax; ++burst) {
    added = fixture.table->setBasePolicy({1, kNsPerSecond, burst, 0});
    if (!CHECK_EQ(added.status, PolicyList::Added::kDone)) return;
  }
  const std::uint32_t base = fixture.table->basePolicy();
  CHECK_EQ(fixture.table->setBasePolicy({1, kNsPerSecond, 5, 0}).status, PolicyList::Added::kTooMany);
  CHECK_EQ(fixture.table->basePolicy(), base);
  CHECK_EQ(fixture.table->setBasePolicy({1, kNsPerSecond, 100, 0}).status, PolicyList::Added::kDone);
  CHECK(fixture.table->basePolicy() != base);
}
