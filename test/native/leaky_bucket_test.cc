// The leaky bucket: a queue of a given room that lets calls out at a fixed rate.
#include "core/leaky_bucket.h"

#include "random.h"
#include "single_key.h"
#include "table_keys.h"

using check::Random;
using sluice::Decision;
using sluice::Entry;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::kNsPerUs;
using sluice::LeakyBucket;
using sluice::Outcome;
using sluice::PolicySpec;
using sluice::Step;
using sluice::TokenBucket;
using sluice::Uint128;
using sluice::Verdict;
using Key = check::SingleKey<LeakyBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;

LeakyBucket::Book bookOf(const PolicySpec& spec) {
  LeakyBucket::Book book;
  CHECK(book.add(spec).has_value());
  return book;
}

Outcome now(const LeakyBucket::Book& book, Key& key, std::uint64_t nowNs, std::uint64_t cost) {
  const Step step = LeakyBucket::chargeNow(book, 0, key.entry, nowNs, cost);
  CHECK(step.write || step.next == key.entry);
  if (step.write) key.entry = step.next;
  return step.outcome;
}

// The queue as it is defined: tokens still in it, as a time that the last of them takes to leave, in 1/limit
// ns.
class QueueModel {
 public:
  QueueModel(const PolicySpec& spec, std::uint64_t startNs) : spec_(spec), nowNs_(startNs) {}

  void advanceTo(std::uint64_t nowNs) {
    const Uint128 leaked = Uint128{nowNs - nowNs_} * spec_.limit;
    backlog_ = leaked < backlog_ ? backlog_ - leaked : 0;
    nowNs_ = nowNs;
  }
  bool hasRoom(std::uint64_t cost) const {
    return backlog_ + Uint128{cost} * spec_.windowNs <= Uint128{spec_.burst} * spec_.windowNs;
  }
  void put(std::uint64_t cost) { backlog_ += Uint128{cost} * spec_.windowNs; }
  std::uint64_t delayNs() const {
    return static_cast<std::uint64_t>((backlog_ + spec_.limit - 1) / spec_.limit);
  }
  std::uint64_t places() const {
    const Uint128 room = Uint128{spec_.burst} * spec_.windowNs;
    return room < backlog_ ? 0 : static_cast<std::uint64_t>((room - backlog_) / spec_.windowNs);
  }

 private:
  PolicySpec spec_;
  std::uint64_t nowNs_;
  Uint128 backlog_ = 0;
};

}  // namespace

TEST(a_queue_admits_its_room_and_lets_out_one_at_a_time) {
  const LeakyBucket::Book book = bookOf({10, kSecond, 6});  // five wait, one goes
  Key key(book);
  for (std::uint64_t i = 0; i < 6; ++i) {
    const Decision decision = key.consume(kSecond, 1);
    CHECK_EQ(decision.outcome, Outcome::kAllowed);
    CHECK_EQ(decision.delayNs, i * 100 * kNsPerMs);
    CHECK_EQ(decision.remaining, 5 - i);
  }
  const Decision full = key.consume(kSecond, 1);
  CHECK_EQ(full.outcome, Outcome::kLimited);
  CHECK_EQ(full.delayNs, 0);
  CHECK_EQ(full.retryAfterNs, 100 * kNsPerMs);
  CHECK(key.retryIsExact(kSecond, 1) && key.retryIsExact(kSecond, 6));
  CHECK_EQ(key.consume(kSecond, 7).outcome, Outcome::kTooCostly);
  CHECK_EQ(key.consume(kSecond + 100 * kNsPerMs, 1).delayNs, 500 * kNsPerMs);
  CHECK_EQ(key.consume(10 * kSecond, 6).delayNs, 0);
  CHECK_EQ(key.peek(10 * kSecond).outcome, Outcome::kLimited);
}

TEST(a_place_that_was_given_away_is_not_taken_back) {
  const LeakyBucket::Book book = bookOf({10, kSecond, 6});
  Key key(book);
  CHECK_EQ(key.allow(kSecond, 6), Outcome::kAllowed);
  const Entry before = key.entry;
  CHECK_EQ(key.refund(kSecond, 6), 0);
  CHECK_EQ(key.refund(kSecond, 6, kSecond), 0);
  CHECK(key.entry == before);
}

TEST(what_a_token_bucket_may_have_besides_means_nothing) {
  PolicySpec spec{10, kSecond, 6};
  spec.initial = 2;
  spec.rememberNs = kDay;
  const LeakyBucket::Book book = bookOf(spec);
  Key key(book);
  CHECK_EQ(key.peek(kSecond).remaining, 6);
  CHECK_EQ(key.consume(kSecond, 6).outcome, Outcome::kAllowed);
  CHECK(!key.live(kSecond + 600 * kNsPerMs));
  CHECK(bookOf({10, kSecond, 6})[0].evenly);
  // Not even what would not fit.
  spec.initial = 7;
  CHECK(bookOf(spec).size() == 1);
  // And a token bucket is none the wiser.
  TokenBucket::Book tokens;
  CHECK(tokens.add({10, kSecond, 6}).has_value());
  CHECK(!tokens[0].evenly);
}

TEST(who_cannot_wait_goes_now_or_not_at_all) {
  const LeakyBucket::Book book = bookOf({10, kSecond, 6});
  Key key(book);
  CHECK_EQ(now(book, key, kSecond, 7), Outcome::kTooCostly);
  CHECK_EQ(now(book, key, kSecond, 2), Outcome::kAllowed);
  const Entry before = key.entry;
  for (const std::uint64_t cost : {1U, 2U, 6U}) CHECK_EQ(now(book, key, kSecond, cost), Outcome::kLimited);
  CHECK_EQ(now(book, key, kSecond, 7), Outcome::kTooCostly);
  CHECK_EQ(now(book, key, kSecond, 0), Outcome::kAllowed);
  CHECK(key.entry == before);
  CHECK_EQ(now(book, key, kSecond + 200 * kNsPerMs - 1, 1), Outcome::kLimited);
  CHECK_EQ(now(book, key, kSecond + 200 * kNsPerMs, 6), Outcome::kAllowed);
  key.block(kSecond, 2 * kSecond);
  CHECK_EQ(now(book, key, kSecond, 1), Outcome::kBlocked);
  CHECK_EQ(now(book, key, kSecond, 0), Outcome::kBlocked);
  CHECK_EQ(now(book, key, kSecond, 7), Outcome::kBlocked);
}

TEST(who_cannot_wait_heals_like_others) {
  const LeakyBucket::Book book = bookOf({10, kSecond, 6, 1});
  Key key(book);
  CHECK_EQ(key.allow(kDay, 6), Outcome::kAllowed);
  const Step healed = LeakyBucket::chargeNow(book, 0, key.entry, kSecond, 1);
  CHECK(healed.fromFuture && healed.write && healed.outcome == Outcome::kLimited);
}

// Ten a second, then another rate and queue, of the limiter itself or of a tier.
TEST(calls_that_were_told_their_times_keep_them_when_the_policy_changes) {
  for (const std::uint64_t isBase : {0U, 1U}) {
    LeakyBucket::Book book = bookOf({10, kSecond, 6, isBase});
    CHECK(book.add({20, kSecond, 101, isBase}).has_value());  // faster, and a longer queue
    CHECK(book.add({1, kSecond, 2, isBase}).has_value());     // slower, and a shorter one
    Key key(book);
    CHECK_EQ(key.consume(kDay, 4).delayNs, 0);
    for (const std::uint32_t asked : {0U, 1U, 2U}) {
      Key other = key;
      CHECK_EQ(other.consume(kDay, 1, asked).delayNs, 400 * kNsPerMs);
    }
    CHECK_EQ(key.peek(kDay, 1).remaining, 93U);  // 400 ms, at 20 a second
    CHECK_EQ(key.consume(kDay, 2, 2).retryAfterNs, 400 * kNsPerMs);
    Key other = key;
    CHECK_EQ(other.consume(kDay + 400 * kNsPerMs - 1, 2, 2).outcome, Outcome::kLimited);
    CHECK_EQ(other.consume(kDay + 400 * kNsPerMs, 2, 2).outcome, Outcome::kAllowed);
    // Refused under one policy, nothing has moved under the other.
    CHECK_EQ(key.consume(kDay, 94, 1).outcome, Outcome::kLimited);
    CHECK_EQ(key.consume(kDay, 93, 1).delayNs, 400 * kNsPerMs);
    CHECK_EQ(key.consume(kDay, 1, 0).retryAfterNs, 5050 * kNsPerMs - 500 * kNsPerMs);
  }
}

TEST(penalties_lengthen_the_queue) {
  const LeakyBucket::Book book = bookOf({10, kSecond, 6});
  Key key(book);
  CHECK_EQ(key.penalize(kSecond, 3), 3);
  CHECK_EQ(key.consume(kSecond, 1).delayNs, 300 * kNsPerMs);
  CHECK_EQ(key.penalize(kSecond, 100), 2);
  CHECK_EQ(key.penalize(kSecond, 100, 0, 4), 4);
  CHECK_EQ(key.consume(kSecond, 1).retryAfterNs, 500 * kNsPerMs);
  CHECK_EQ(now(book, key, 2 * kSecond - 1, 1), Outcome::kLimited);
  CHECK_EQ(now(book, key, 2 * kSecond, 1), Outcome::kAllowed);
}

// At whole microseconds, of rates whose units fall on them, everything is exact.
TEST(queues_equal_the_model) {
  Random random = check::seeded("leaky exact", 1);
  const std::vector<PolicySpec> specs = {{1, kDay, 7},
                                         {10, kSecond, 20},
                                         {100, 60 * kSecond, 5},
                                         {3, 7 * kSecond, 1000},
                                         {1'000'000, kSecond, 12'345},
                                         {1'000'000'000, kSecond, 1'000'000'000}};
  for (int run = 0; run < check::scaled(2000); ++run) {
    const PolicySpec& spec = specs[random.below(specs.size())];
    const LeakyBucket::Book book = bookOf(spec);
    Key key(book);
    std::uint64_t nowNs = random.magnitude(kYear) / kNsPerUs * kNsPerUs, lastOutNs = 0, earliestNs = 0;
    QueueModel model(spec, nowNs);
    for (int i = 0; i < 200; ++i) {
      if (random.oneIn(2))
        nowNs += random.magnitude(4 * spec.windowNs / spec.limit + 1) / kNsPerUs * kNsPerUs;
      model.advanceTo(nowNs);
      const std::uint64_t cost = random.oneIn(2) ? 1 : random.magnitude(spec.burst),
                          delayNs = model.delayNs();
      const bool atOnce = random.oneIn(4), fits = model.hasRoom(cost) && (!atOnce || delayNs == 0);
      if (atOnce && !CHECK_EQ(now(book, key, nowNs, cost), fits ? Outcome::kAllowed : Outcome::kLimited))
        return;
      if (fits) model.put(cost);
      if (atOnce && !fits) continue;
      const Decision decision =
          atOnce ? LeakyBucket::describe(book, 0, key.entry, nowNs, cost, Outcome::kAllowed)
                 : key.consume(nowNs, cost);
      const std::uint64_t outNs = nowNs + decision.delayNs;
      const bool fine = CHECK_EQ(decision.outcome, fits ? Outcome::kAllowed : Outcome::kLimited) &&
                        CHECK_EQ(decision.delayNs, fits ? delayNs : 0) &&
                        CHECK_EQ(decision.remaining, model.places()) &&
                        CHECK(!fits || (outNs >= lastOutNs && outNs >= earliestNs));
      if (!fine) return check::note("limit, burst, step, cost:", spec.limit, spec.burst, i, cost);
      if (!fits) continue;
      lastOutNs = outNs;
      earliestNs = outNs + cost * (spec.windowNs / spec.limit);  // rounded down: its share of the rate
    }
  }
}

TEST(refusals_within_a_frame_are_those_of_chargeNow) {
  Random random = check::seeded("leaky frames", 2);
  int refused = 0;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(kDay), limit = random.magnitude(windowNs);
    const LeakyBucket::Book book = bookOf({limit, windowNs, random.magnitude(1000)});
    Key key(book);
    const std::uint64_t nowNs = random.magnitude(kYear), highNs = nowNs + random.magnitude(20 * kNsPerMs);
    key.penalize(nowNs - random.below(std::min(nowNs, kSecond)), random.magnitude(book[0].burst), 0,
                 random.below(1000));
    if (random.oneIn(10)) key.block(nowNs, nowNs + random.magnitude(kSecond));
    const std::uint64_t cost = random.below(book[0].burst + 2);
    const Verdict verdict =
        LeakyBucket::chargeNowWithin(LeakyBucket::frame(book, 0, nowNs, highNs), key.entry, cost);
    CHECK(verdict.kind != Verdict::Kind::kAdmit);
    if (verdict.kind != Verdict::Kind::kRefuse) continue;
    ++refused;
    for (const std::uint64_t atNs : {nowNs, highNs, random.between(nowNs, highNs)}) {
      const Step step = LeakyBucket::chargeNow(book, 0, key.entry, atNs, cost);
      if (!CHECK_EQ(step.outcome, Outcome::kLimited) || !CHECK(!step.write))
        return check::note("iteration", i);
    }
  }
  CHECK(refused > 1000);
}

TEST(a_table_of_queues) {
  const auto table = check::makeTable<LeakyBucket>(40, 1, bookOf({10, kSecond, 6}));
  check::TableKey<LeakyBucket> key(*table, check::craftedKey(1, 1));
  for (std::uint64_t i = 0; i < 6; ++i) CHECK_EQ(key.consume(kSecond, 1).delayNs, i * 100 * kNsPerMs);
  CHECK_EQ(key.consume(kSecond, 1).outcome, Outcome::kLimited);
  CHECK_EQ(key.refund(kSecond, 6), 0);
  // Whose region is no token bucket's, nor the other way round.
  sluice::RegionSpec spec;
  spec.maxKeys = 40;
  spec.seed = check::hashSeed(1);
  spec.base = {10, kSecond, 6};
  spec.algorithm = LeakyBucket::kId;
  CHECK(sluice::Table<TokenBucket>::attach(sluice::Region::allocate(spec)) == nullptr);
  CHECK(sluice::Table<LeakyBucket>::attach(sluice::Region::allocate(spec)) != nullptr);
  spec.algorithm = TokenBucket::kId;
  CHECK(sluice::Table<LeakyBucket>::attach(sluice::Region::allocate(spec)) == nullptr);
}
