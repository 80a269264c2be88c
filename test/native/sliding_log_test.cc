// The sliding log: against the exact set of times, and by example.
#include "core/sliding_log.h"

#include <set>

#include "wide_checks.h"

using check::bookOf;
using check::kLimited;
using check::kOk;
using check::kTooCostly;
using check::Random;
using check::Verb;
using sluice::Decision;
using sluice::kClockToleranceNs;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::SlidingLog;
using Book = SlidingLog::Book;
using Key = check::SingleKey<SlidingLog>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;

Book book(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits) {
  return bookOf<SlidingLog>(windowNs, limits);
}

// The times of what was spent. The clock may step back: what counts no more is forgotten only when something
// changes, so until then it may count again.
class LogModel {
 public:
  explicit LogModel(std::uint64_t windowNs) : windowNs_(windowNs) {}

  std::uint64_t counted(std::uint64_t nowNs) const { return counting(nowNs).size(); }
  void spend(std::uint64_t nowNs, std::uint64_t tokens) {
    if (tokens != 0) times_ = counting(nowNs);
    const std::uint64_t atNs = times_.empty() ? nowNs : std::max(nowNs, *times_.rbegin());
    for (std::uint64_t i = 0; i < tokens; ++i) times_.insert(atNs);
  }
  std::uint64_t refund(std::uint64_t nowNs, std::uint64_t tokens, std::uint64_t ageNs) {
    if (ageNs > nowNs) return 0;
    std::multiset<std::uint64_t> times = counting(nowNs);
    std::uint64_t given = 0;
    for (; given < tokens; ++given) {
      auto newer = ageNs == 0 ? times.end() : times.upper_bound(nowNs - ageNs);
      if (newer == times.begin()) break;
      times.erase(std::prev(newer));
    }
    if (given != 0) times_ = times;
    return given;
  }
  // Until at most `most` count.
  std::uint64_t untilAtMost(std::uint64_t nowNs, std::uint64_t most) const {
    std::uint64_t atNs = nowNs;
    for (const std::uint64_t ns : counting(nowNs)) {
      if (counted(atNs) <= most) break;
      atNs = ns + windowNs_;
    }
    return atNs - nowNs;
  }
  // False if nothing lies in an impossible future.
  bool bringBack(std::uint64_t nowNs) {
    if (times_.empty() || *times_.rbegin() <= nowNs + kClockToleranceNs) return false;
    std::multiset<std::uint64_t> times;
    for (const std::uint64_t ns : counting(nowNs)) times.insert(ns > nowNs + kClockToleranceNs ? nowNs : ns);
    times_ = times;
    return true;
  }

 private:
  std::multiset<std::uint64_t> counting(std::uint64_t nowNs) const {
    std::multiset<std::uint64_t> times;
    for (const std::uint64_t ns : times_) {
      if (ns + windowNs_ > nowNs) times.insert(ns);
    }
    return times;
  }

  std::uint64_t windowNs_;
  std::multiset<std::uint64_t> times_;
};

// A key and its model, in two tiers.
struct Pair {
  const Book& book;
  std::uint64_t windowNs, limits[2];
  Key key{book};
  LogModel model{windowNs};

  bool consumesAlike(std::uint64_t nowNs, std::uint32_t tier, std::uint64_t cost) {
    const std::uint64_t limit = limits[tier];
    const bool fits = cost == 0 || model.counted(nowNs) + cost <= limit;
    const Outcome expected = cost > limit ? Outcome::kTooCostly
                             : fits       ? Outcome::kAllowed
                                          : Outcome::kLimited;
    const Decision actual = key.consume(nowNs, cost, tier);
    if (expected == Outcome::kAllowed) model.spend(nowNs, cost);
    std::uint64_t retryNs = expected == Outcome::kTooCostly ? sluice::kNever : 0;
    if (expected == Outcome::kLimited) {
      retryNs = model.untilAtMost(nowNs, limit - cost);
      if (!key.retryIsExact(nowNs, cost, tier)) return false;
    }
    return CHECK_EQ(actual.outcome, expected) && CHECK_EQ(actual.retryAfterNs, retryNs) &&
           CHECK_EQ(actual.remaining, sluice::saturatingSub(limit, model.counted(nowNs))) &&
           CHECK_EQ(actual.resetAfterNs, model.untilAtMost(nowNs, 0)) &&
           CHECK_EQ(key.live(nowNs), model.counted(nowNs) != 0);
  }

  bool actsAlike(Random& random, std::uint64_t nowNs) {
    const auto tier = static_cast<std::uint32_t>(random.below(2));
    const std::uint64_t limit = limits[tier];
    const std::uint64_t amount = random.oneIn(3) ? random.below(limit + 2) : random.below(3);
    if (random.below(10) < 7) return consumesAlike(nowNs, tier, amount);
    if (random.oneIn(2)) {
      const std::uint64_t taken = std::min(amount, sluice::saturatingSub(limit, model.counted(nowNs)));
      model.spend(nowNs, taken);
      return CHECK_EQ(key.penalize(nowNs, amount, tier), taken);
    }
    const std::uint64_t ageNs = random.oneIn(3) ? 0 : random.magnitude(windowNs + windowNs / 4);
    return CHECK_EQ(key.refund(nowNs, amount, ageNs, tier), model.refund(nowNs, amount, ageNs)) &&
           check::weighsRight(key, book, nowNs, limits[0] < limits[1] ? 0 : 1);
  }
};

// A time later, mostly: often the one at which there is room again, or beside it.
std::uint64_t otherTime(Random& random, const Key& key, std::uint64_t nowNs, std::uint64_t windowNs) {
  const Decision seen = key.peek(nowNs);
  if (seen.outcome == Outcome::kLimited && random.oneIn(2))
    return nowNs + seen.retryAfterNs + random.below(3) - 1;
  if (random.oneIn(20)) return nowNs - random.below(std::min(nowNs, kClockToleranceNs));
  return random.oneIn(3) ? nowNs : nowNs + random.magnitude(windowNs + windowNs / 4);
}

bool run(Random& random, std::uint64_t windowNs, int steps) {
  const std::uint64_t limit = random.between(1, 64), other = random.magnitude(64);
  const Book policies = book(windowNs, {limit, other});
  Pair pair{policies, windowNs, {limit, other}};
  std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
  for (int i = 0; i < steps && nowNs < kHorizonNs / 4; ++i) {
    nowNs = otherTime(random, pair.key, nowNs, windowNs);
    if (random.oneIn(60) && nowNs > 10 * kClockToleranceNs)  // the clock is set back
      nowNs -= random.between(kClockToleranceNs / 2, 3 * kClockToleranceNs);
    // Asking heals.
    const bool fine = !pair.model.bringBack(nowNs) || pair.consumesAlike(nowNs, 0, 0);
    if (fine && pair.actsAlike(random, nowNs)) continue;
    check::note("window, limits, step, now:", windowNs, limit, other, i, nowNs);
    return false;
  }
  return true;
}

bool ascends(const SlidingLog::Entry& entry) {
  const auto end = std::find(entry.words.begin(), entry.words.end(), 0U);
  return CHECK(std::is_sorted(entry.words.begin(), end)) &&
         CHECK(std::all_of(end, entry.words.end(), [](std::uint64_t word) { return word == 0; }));
}

}  // namespace

TEST(a_script_of_charges) {
  const Book policies = book(kSecond, {10});
  Key key(policies);
  check::play(key, {
                       {0, Verb::kConsume, 0, kOk, 10},
                       {0, Verb::kConsume, 11, kTooCostly, 10, sluice::kNever},
                       {0, Verb::kConsume, 6, kOk, 4},  // the time 0 is a time
                       {300'000, Verb::kConsume, 3, kOk, 1},
                       {400'000, Verb::kConsume, 2, kLimited, 1, 600'000},
                       {400'000, Verb::kConsume, 7, kLimited, 1, 600'000},
                       {400'000, Verb::kConsume, 8, kLimited, 1, 900'000},
                       {999'999, Verb::kConsume, 2, kLimited, 1, 1},
                       {1'000'000, Verb::kConsume, 7, kOk, 0},
                       {1'299'999, Verb::kConsume, 1, kLimited, 0, 1},
                       {1'300'000, Verb::kConsume, 3, kOk, 0},
                       {1'300'000, Verb::kConsume, 10, kLimited, 0, 1'000'000},
                       {2'000'000, Verb::kPeek, 1, kOk, 7},
                   });
  CHECK_EQ(key.peek(1'400 * kNsPerMs).resetAfterNs, 900 * kNsPerMs);
}

TEST(a_script_of_refunds_and_penalties) {
  const Book policies = book(kSecond, {10});
  Key key(policies);
  check::play(key, {
                       {0, Verb::kRefund, 5, 0, 10},
                       {0, Verb::kConsume, 4, kOk, 6},
                       {100'000, Verb::kConsume, 4, kOk, 2},
                       {200'000, Verb::kRefund, 3, 3, 5},
                       {200'000, Verb::kPenalize, 4, 4, 1},
                       {200'000, Verb::kPenalize, 4, 1, 0},
                       {200'000, Verb::kPenalize, 4, 0, 0},
                   });
  const std::uint64_t nowNs = 300 * kNsPerMs;
  CHECK_EQ(key.refund(nowNs, 2, nowNs + 1), 0);
  CHECK_EQ(key.refund(nowNs, 2, nowNs), 2);           // of the time 0
  CHECK_EQ(key.refund(nowNs, 9, 201 * kNsPerMs), 2);  // the other two of it
  CHECK_EQ(key.refund(nowNs, 9, 200 * kNsPerMs), 1);  // what is left of 100 ms
  CHECK_EQ(key.peek(nowNs).remaining, 5);
  CHECK_EQ(key.peek(1'199 * kNsPerMs).remaining, 5);
  CHECK_EQ(key.peek(1'200 * kNsPerMs).remaining, 10);
}

TEST(the_log_is_exact_for_windows_of_any_length) {
  Random random = check::seeded("log", 1);
  for (int i = 0; i < check::scaled(1'200); ++i) {
    const std::uint64_t windowNs = random.magnitude(i % 4 == 0 ? kHorizonNs / 8 : 366 * kDay);
    if (!run(random, windowNs, 120)) return;
  }
}

TEST(windows_close_to_the_clocks_tolerance_are_exact) {
  Random random = check::seeded("log steps", 2);
  for (int i = 0; i < check::scaled(600); ++i) {
    if (!run(random, random.between(kClockToleranceNs / 4, 4 * kClockToleranceNs), 120)) return;
  }
}

// The promise itself, by nobody's rule: an interval of the window's length, one end excluded, admits exactly
// up to the limit.
TEST(every_interval_of_the_windows_length_admits_up_to_the_limit) {
  Random random = check::seeded("log intervals", 3);
  for (int i = 0; i < check::scaled(1'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(i % 2 == 0 ? 1000 : kDay), limit = random.between(1, 64);
    const Book policies = book(windowNs, {limit});
    Key key(policies);
    std::vector<std::uint64_t> admitted;
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
    for (int step = 0; step < 500; ++step) {
      nowNs += random.oneIn(2) ? 0 : random.magnitude(windowNs + windowNs / 4);
      const auto inWindow = static_cast<std::uint64_t>(std::count_if(
          admitted.begin(), admitted.end(), [&](std::uint64_t atNs) { return nowNs - atNs < windowNs; }));
      const bool allowed = key.allow(nowNs, 1) == Outcome::kAllowed;
      if (allowed) admitted.push_back(nowNs);
      if (CHECK_EQ(allowed, inWindow < limit) && ascends(key.entry)) continue;
      return check::note("window, limit, step, now:", windowNs, limit, step, nowNs);
    }
  }
}

TEST(costs_around_the_limit_at_every_extreme) {
  for (const std::uint64_t windowNs : {std::uint64_t{1}, kNsPerMs, kDay, kYear, kHorizonNs / 2}) {
    for (const std::uint64_t limit : {1U, 2U, 63U, 64U}) {
      const Book policies = book(windowNs, {limit});
      for (const std::uint64_t cost : {limit - 1, limit, limit + 1, sluice::kMaxTokens, ~std::uint64_t{0}}) {
        Key key(policies);
        const Decision first = key.consume(kSecond, cost);
        CHECK_EQ(first.outcome, cost > limit ? Outcome::kTooCostly : Outcome::kAllowed);
        CHECK_EQ(first.remaining, cost > limit ? limit : limit - cost);
        CHECK_EQ(first.resetAfterNs, cost == 0 || cost > limit ? 0 : windowNs);
        if (cost == limit && CHECK(key.retryIsExact(kSecond, 1)))
          CHECK_EQ(key.peek(kSecond).retryAfterNs, windowNs);
      }
    }
  }
}

TEST(no_token_is_owed) {
  const Book policies = book(kSecond, {3, 64});
  const auto step = SlidingLog::penalize(policies, 0, {}, kSecond, 9, 9);
  CHECK_EQ(step.amount, 3);
  CHECK_EQ(SlidingLog::penalize(policies, 0, step.next, kSecond, 9, 9).amount, 0);
  CHECK_EQ(SlidingLog::penalize(policies, 1, step.next, kSecond, 999, 999).amount, 61);
}

TEST(blocks_lie_beside_what_was_spent) { check::blocksLieBesideWhatWasSpent<SlidingLog>(); }

TEST(who_comes_late_is_noted_with_the_newest) {
  const Book policies = book(kSecond, {10});
  Key key(policies);
  CHECK_EQ(key.consume(5 * kSecond, 4).remaining, 6);
  const std::uint64_t lateNs = 5 * kSecond - 300 * kNsPerMs;
  CHECK_EQ(key.consume(lateNs, 4).remaining, 2);
  CHECK_EQ(key.consume(lateNs, 3).retryAfterNs, kSecond + 300 * kNsPerMs);
  CHECK(key.retryIsExact(lateNs, 3));
  CHECK_EQ(key.refund(lateNs, 1, 0), 1);
  CHECK_EQ(key.refund(lateNs, 1, 1), 0);
  CHECK_EQ(key.peek(6 * kSecond - 1).remaining, 3);
  CHECK_EQ(key.peek(6 * kSecond).remaining, 10);
}

TEST(an_impossible_future_is_brought_back) {
  const Book policies = book(60 * kSecond, {10});
  const std::uint64_t writtenNs = 1000 * kSecond;
  Key key(policies);
  CHECK_EQ(key.allow(writtenNs - 5 * kSecond, 3), Outcome::kAllowed);
  CHECK_EQ(key.allow(writtenNs, 5), Outcome::kAllowed);
  CHECK(!SlidingLog::charge(policies, 0, key.entry, writtenNs - kClockToleranceNs, 1).fromFuture);
  const std::uint64_t nowNs = writtenNs - kClockToleranceNs - 1;
  for (const std::uint64_t cost : {0U, 2U, 3U}) {
    const auto step = SlidingLog::charge(policies, 0, key.entry, nowNs, cost);
    CHECK(step.fromFuture && step.write && ascends(step.next));
  }
  CHECK(SlidingLog::refund(policies, 0, key.entry, nowNs, 1, 0).fromFuture);
  CHECK(SlidingLog::penalize(policies, 0, key.entry, nowNs, 1).fromFuture);
  CHECK(SlidingLog::block(policies, 0, key.entry, nowNs, nowNs + 1).fromFuture);
  CHECK_EQ(key.allow(nowNs, 3), Outcome::kLimited);
  CHECK_EQ(key.peek(nowNs + 60 * kSecond - 1).remaining, 2);
  CHECK_EQ(key.peek(nowNs + 60 * kSecond).remaining, 7);  // the others may be from so far ahead
  CHECK_EQ(key.peek(writtenNs + 55 * kSecond).remaining, 10);
}

TEST(tiers_share_the_log) {
  const Book policies = book(kSecond, {10, 60});
  Key key(policies);
  CHECK_EQ(key.consume(0, 8, 0).remaining, 2);
  CHECK_EQ(key.consume(1000, 50, 1).remaining, 2);
  CHECK_EQ(key.peek(1000, 0).remaining, 0);
  CHECK_EQ(key.peek(1000, 0).retryAfterNs, kSecond);  // the 8 of before are not enough
  CHECK(key.retryIsExact(1000, 1, 0));
  CHECK_EQ(key.penalize(1000, 5, 0), 0);
  CHECK_EQ(key.refund(1000, 51), 51);
  CHECK_EQ(key.peek(1000, 0).remaining, 3);
}

TEST(nothing_is_decided_from_the_payload_alone) {
  const Book policies = book(kSecond, {10});
  std::uint64_t left = 77;
  const auto frame = SlidingLog::frame(policies, 0, 5, 5);
  for (const sluice::Entry entry :
       {sluice::Entry{}, sluice::Entry{5, 0}, sluice::Entry{5, sluice::kBlockedFlag}}) {
    CHECK(SlidingLog::chargeWithin(frame, entry, 1).kind == sluice::Verdict::Kind::kUnsure);
    CHECK(SlidingLog::admitAt(frame, entry, 1, &left).kind == sluice::Verdict::Kind::kUnsure);
  }
  CHECK_EQ(left, 77);
}

TEST(no_bits_do_harm) {
  Random random = check::seeded("log bits", 4);
  for (int i = 0; i < check::scaled(60'000); ++i) {
    const std::uint64_t windowNs = random.magnitude(kYear), nowNs = random.magnitude(10 * kYear);
    const std::uint64_t limit = random.between(1, 64);
    const Book policies = book(windowNs, {limit, random.between(1, 64)});
    const std::uint64_t near = nowNs + (random.oneIn(2) ? 0 : random.magnitude(windowNs));
    if (check::standsAnyBits<SlidingLog>(random, policies, nowNs, near)) continue;
    return check::note("window, limit, now, i:", windowNs, limit, nowNs, i);
  }
}

TEST(the_last_moment_of_all_lasts) {
  for (const std::uint64_t windowNs : {std::uint64_t{1}, kSecond, kHorizonNs}) {
    const Book policies = book(windowNs, {64});
    for (const std::uint64_t nowNs : {kHorizonNs - 1, kHorizonNs, kHorizonNs + kDay, ~std::uint64_t{0}}) {
      Key key(policies);
      CHECK_EQ(key.allow(nowNs, 64), Outcome::kAllowed);
      CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
      CHECK_EQ(key.refund(nowNs, 64), 64);
    }
  }
}

TEST(books_refuse_what_they_have_no_room_for) {
  CHECK(!Book::make({0, 1, 0}).has_value());
  CHECK(!Book::make({kHorizonNs + 1, 1, 0}).has_value());
  CHECK(!Book::make({kSecond, 0, 0}).has_value());
  CHECK(!Book::make({kSecond, 65, 0}).has_value());
  for (const std::uint64_t limit : {1U, 10U, 64U}) {
    Book policies = book(kHorizonNs, {limit});
    CHECK_EQ(policies.words(), limit);
    CHECK_EQ(policies.maxCount(), limit);
    CHECK_EQ(policies.options().maxLimit, limit);
    CHECK(!policies.add({0}).has_value());
    CHECK(!policies.add({limit + 1}).has_value());
  }
}
