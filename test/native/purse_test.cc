// Purses: what is granted, taken and lapses, by example, at random against a model, in a table, and in a
// race.
#include "core/purse.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::BookOptions;
using sluice::Decision;
using sluice::Entry;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNever;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Purse;
using sluice::Step;
using sluice::Verdict;
using Key = check::SingleKey<Purse>;

namespace {

constexpr std::uint64_t kMs = kNsPerMs, kTick = Purse::kTickNs, kMost = Purse::kMaxBalance;
constexpr std::uint64_t kDay = 86'400 * kNsPerSecond, kYear = 36525 * kDay / 100;
constexpr std::uint64_t kNow = 100 * kNsPerSecond;
constexpr std::uint64_t kWindow = 100 * kMs;

Purse::Book bookOf(std::uint64_t windowNs = kWindow) {
  auto book = Purse::Book::make(BookOptions{windowNs, 1, 0});
  CHECK(book.has_value());
  CHECK(book->add({1}).has_value());
  return *book;
}

// What the purse says it has; and that all ways of asking agree.
std::uint64_t balanceAt(const Key& key, std::uint64_t nowNs) {
  const Decision seen = key.peek(nowNs);
  CHECK_EQ(seen.outcome, seen.remaining > 0 ? Outcome::kAllowed : Outcome::kLimited);
  CHECK_EQ(seen.retryAfterNs, seen.remaining > 0 ? 0 : kNever);
  CHECK_EQ(seen.resetAfterNs > 0, seen.remaining > 0);
  CHECK_EQ(key.peek(nowNs, 0, 0).outcome, seen.outcome);
  CHECK_EQ(key.live(nowNs), seen.remaining > 0);
  return seen.remaining;
}

}  // namespace

TEST(an_unknown_key_has_no_purse_and_gets_none) {
  const Purse::Book book = bookOf();
  Key key(book);
  for (const std::uint64_t nowNs : {std::uint64_t{0}, kNow, kHorizonNs}) {
    for (const std::uint64_t cost : {std::uint64_t{0}, std::uint64_t{1}, kMost, kMaxTokens}) {
      CHECK_EQ(key.allow(nowNs, cost), Outcome::kLimited);
      CHECK_EQ(key.penalize(nowNs, cost), 0);
    }
    CHECK_EQ(balanceAt(key, nowNs), 0);
    CHECK(key.entry == Entry{});
  }
}

TEST(tokens_are_taken_until_there_are_too_few) {
  const Purse::Book book = bookOf();
  Key key(book);
  CHECK_EQ(key.refund(kNow, 10), 10);
  CHECK_EQ(key.peek(kNow).resetAfterNs, kWindow);
  CHECK_EQ(key.allow(kNow, 11), Outcome::kLimited);
  CHECK_EQ(key.allow(kNow, 0), Outcome::kAllowed);
  CHECK_EQ(balanceAt(key, kNow), 10);
  const Decision taken = key.consume(kNow + kMs, 7);
  CHECK_EQ(taken.outcome, Outcome::kAllowed);
  CHECK_EQ(taken.remaining, 3);
  CHECK_EQ(taken.resetAfterNs, kWindow - kMs);
  CHECK_EQ(key.allow(kNow + kMs, 4), Outcome::kLimited);
  CHECK_EQ(key.penalize(kNow + kMs, 2), 2);
  CHECK_EQ(key.penalize(kNow + kMs, 2), 1);
  CHECK_EQ(key.penalize(kNow + kMs, 2), 0);
  CHECK_EQ(balanceAt(key, kNow + kMs), 0);
  CHECK_EQ(key.allow(kNow + kMs, 0), Outcome::kLimited);
}

TEST(tokens_lapse_never_too_late_and_at_most_a_tick_early) {
  Random random = check::seeded("lapse", 1);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t windowNs = kTick + random.magnitude(10 * kDay);
    const std::uint64_t nowNs = random.magnitude(8 * kYear), ageNs = random.below(windowNs);
    const Purse::Book book = bookOf(windowNs);
    Key key(book);
    const std::uint64_t endNs = nowNs + windowNs - ageNs;
    const std::uint64_t granted = key.refund(nowNs, 5, ageNs);
    if (granted == 0) {
      // It would have lapsed within this tick.
      if (!CHECK_EQ(endNs / kTick, nowNs / kTick) || !CHECK(key.entry == Entry{})) return;
      continue;
    }
    const std::uint64_t lapsesNs = nowNs + key.peek(nowNs).resetAfterNs;
    const bool isRight = CHECK_EQ(granted, 5) && CHECK(lapsesNs <= endNs && endNs - lapsesNs < kTick) &&
                         CHECK_EQ(balanceAt(key, lapsesNs - 1), 5) && CHECK_EQ(balanceAt(key, lapsesNs), 0);
    if (!isRight) return check::note("window, now, age:", windowNs, nowNs, ageNs);
    CHECK_EQ(key.allow(lapsesNs, 1), Outcome::kLimited);
    CHECK_EQ(key.penalize(lapsesNs, 1), 0);
  }
}

TEST(whole_half_milliseconds_are_exact) {
  const Purse::Book book = bookOf();
  Key key(book);
  for (std::uint64_t ageNs = 0; ageNs < kWindow; ageNs += kTick) {
    const std::uint64_t nowNs = kNow + ageNs * 1000;
    CHECK_EQ(key.refund(nowNs, 1, ageNs), 1);
    CHECK_EQ(key.peek(nowNs).resetAfterNs, kWindow - ageNs);
  }
}

TEST(a_grant_that_has_lapsed_already_counts_for_nothing) {
  const Purse::Book book = bookOf();
  Key key(book);
  for (const std::uint64_t ageNs : {kWindow, kWindow + 1, kHorizonNs, kNever}) {
    CHECK_EQ(key.refund(kNow, 5, ageNs), 0);
    CHECK(key.entry == Entry{});
  }
  CHECK_EQ(key.refund(kNow, 5), 5);
  const Entry before = key.entry;
  CHECK_EQ(key.refund(kNow, 5, kWindow), 0);
  CHECK_EQ(key.refund(kNow, 0), 0);
  CHECK(key.entry == before);
}

TEST(a_grant_joins_what_is_left_and_all_lapses_at_the_later_time) {
  const Purse::Book book = bookOf();
  Key key(book);
  key.refund(kNow, 5);
  CHECK_EQ(key.refund(kNow + 10 * kMs, 3, 60 * kMs), 3);  // would lapse at 50 ms
  CHECK_EQ(key.peek(kNow + 10 * kMs).resetAfterNs, 90 * kMs);
  CHECK_EQ(balanceAt(key, kNow + 99 * kMs), 8);
  CHECK_EQ(key.refund(kNow + 99 * kMs, 1, 20 * kMs), 1);  // at 179 ms
  CHECK_EQ(balanceAt(key, kNow + 178 * kMs), 9);
  CHECK_EQ(balanceAt(key, kNow + 179 * kMs), 0);
  // Nothing is left of what has lapsed, or been taken.
  CHECK_EQ(key.refund(kNow + 179 * kMs, 2, 90 * kMs), 2);
  CHECK_EQ(balanceAt(key, kNow + 188 * kMs), 2);
  CHECK_EQ(key.allow(kNow + 180 * kMs, 2), Outcome::kAllowed);
  CHECK_EQ(key.refund(kNow + 180 * kMs, 4, 95 * kMs), 4);
  CHECK_EQ(key.peek(kNow + 180 * kMs).resetAfterNs, 5 * kMs);
}

TEST(a_purse_holds_no_more_than_it_can_count) {
  const Purse::Book book = bookOf();
  Key key(book);
  CHECK_EQ(kMost, 4'294'967'294);
  CHECK_EQ(key.refund(kNow, kMost - 1), kMost - 1);
  CHECK_EQ(key.refund(kNow + kMs, 5), 1);
  CHECK_EQ(key.refund(kNow + 2 * kMs, kMaxTokens), 0);
  CHECK_EQ(balanceAt(key, kNow + kWindow + kMs), kMost);
  CHECK_EQ(key.allow(kNow + 2 * kMs, kMost + 1), Outcome::kLimited);
  CHECK_EQ(key.allow(kNow + 2 * kMs, kMost), Outcome::kAllowed);
  CHECK_EQ(balanceAt(key, kNow + 2 * kMs), 0);
  CHECK_EQ(key.refund(kNow + 2 * kMs, kMaxTokens), kMost);
}

TEST(windows_of_every_length) {
  CHECK(!Purse::Book::make(BookOptions{0, 1, 0}));
  CHECK(!Purse::Book::make(BookOptions{kTick - 1, 1, 0}));
  CHECK(!Purse::Book::make(BookOptions{kHorizonNs + 1, 1, 0}));
  for (const std::uint64_t windowNs : {kTick, kMs, kDay, 9 * kYear, kHorizonNs}) {
    const Purse::Book book = bookOf(windowNs);
    CHECK_EQ(book.options().windowNs, windowNs);
    Key key(book);
    CHECK_EQ(key.refund(kNow, 5), 5);
    CHECK_EQ(balanceAt(key, kNow + std::min(windowNs, 8 * kYear) - kTick), 5);
    CHECK_EQ(balanceAt(key, kNow + windowNs), 0);
  }
}

TEST(a_table_that_is_too_old_grants_nothing) {
  const Purse::Book book = bookOf();
  const std::uint64_t oldestNs = ((std::uint64_t{1} << 39) - 1) * kTick;
  CHECK(oldestNs > 87 * kYear / 10);
  Key key(book);
  CHECK_EQ(key.refund(oldestNs - kTick, 5), 5);
  CHECK_EQ(balanceAt(key, oldestNs - 1), 5);
  CHECK_EQ(balanceAt(key, oldestNs), 0);
  const Entry before = key.entry;
  for (const std::uint64_t nowNs : {oldestNs, oldestNs + kYear, kHorizonNs, kNever}) {
    CHECK_EQ(key.refund(nowNs, 5), 0);
    CHECK_EQ(key.allow(nowNs, 1), Outcome::kLimited);
    CHECK(key.entry == before);
  }
}

// A clock that was set back: what was granted before is of no use, and in nobody's way.
TEST(what_lies_in_an_impossible_future_is_not_spent) {
  const Purse::Book book = bookOf();
  Key key(book);
  const std::uint64_t toleratedNs = sluice::kClockToleranceNs;
  key.refund(kNow, 5);
  CHECK_EQ(balanceAt(key, kNow - toleratedNs), 5);
  const std::uint64_t beforeNs = kNow - toleratedNs - 2 * kTick;
  for (const Step& step :
       {Purse::charge(book, 0, key.entry, beforeNs, 1), Purse::penalize(book, 0, key.entry, beforeNs, 1)}) {
    CHECK(step.fromFuture && !step.write);
    CHECK_EQ(step.amount, 0);
  }
  CHECK_EQ(Purse::charge(book, 0, key.entry, beforeNs, 1).outcome, Outcome::kLimited);
  CHECK(key.live(beforeNs));  // but not thrown away, either
  CHECK(Purse::refund(book, 0, key.entry, beforeNs, 1, 0).fromFuture);
  CHECK_EQ(key.refund(beforeNs, 2), 2);
  CHECK_EQ(balanceAt(key, beforeNs + kWindow - kTick), 2);
  CHECK_EQ(balanceAt(key, beforeNs + kWindow), 0);
}

namespace {

// What a purse is, without bits.
struct Model {
  std::uint64_t balance = 0, untilNs = 0;

  std::uint64_t left(std::uint64_t nowNs) const { return nowNs < untilNs ? balance : 0; }
  std::uint64_t grant(std::uint64_t nowNs, std::uint64_t tokens, std::uint64_t endNs) {
    const std::uint64_t before = left(nowNs), roundedNs = endNs / kTick * kTick;
    const std::uint64_t latestNs = before == 0 ? roundedNs : std::max(untilNs, roundedNs);
    if (endNs <= nowNs || latestNs <= nowNs || tokens == 0) return 0;
    balance = std::min(before + tokens, kMost);
    untilNs = latestNs;
    return balance - before;
  }
  std::uint64_t take(std::uint64_t nowNs, std::uint64_t most) {
    const std::uint64_t taken = std::min(left(nowNs), most);
    if (taken != 0) balance -= taken;
    return taken;
  }
};

}  // namespace

TEST(a_random_history_is_that_of_the_model) {
  for (const std::uint64_t windowNs : {kTick, 7 * kMs + 123, kWindow, kDay / 24}) {
    const Purse::Book book = bookOf(windowNs);
    Random random = check::seeded("model", windowNs);
    std::uint64_t nowNs = random.magnitude(kYear), admitted = 0, granted = 0, lapsed = 0;
    Key key(book);
    Model model;
    for (int i = 0; i < check::scaled(200'000); ++i) {
      if (random.oneIn(2)) nowNs += random.magnitude(2 * windowNs);
      const std::uint64_t tokens = random.oneIn(8) ? random.magnitude(2 * kMost) : random.below(20);
      const std::uint64_t left = model.left(nowNs), kind = random.below(4);
      lapsed += left == 0 && model.balance != 0;
      bool isRight = CHECK_EQ(balanceAt(key, nowNs), left);
      if (kind == 0) {
        const std::uint64_t ageNs = random.below(windowNs + windowNs / 4 + 1);
        const std::uint64_t endNs = nowNs + windowNs - std::min(ageNs, windowNs);
        const std::uint64_t credit = model.grant(nowNs, tokens, endNs);
        isRight &= CHECK_EQ(key.refund(nowNs, tokens, ageNs), credit);
        granted += credit != 0;
      } else if (kind == 1) {
        isRight &= CHECK_EQ(key.penalize(nowNs, tokens), model.take(nowNs, tokens));
      } else {
        const bool isEnough = left != 0 && tokens <= left;
        isRight &= CHECK_EQ(key.allow(nowNs, tokens), isEnough ? Outcome::kAllowed : Outcome::kLimited);
        if (isEnough) model.take(nowNs, tokens);
        admitted += isEnough;
      }
      if (!isRight) return check::note("step, window, now, tokens:", i, windowNs, nowNs, tokens);
    }
    CHECK(admitted > 100 && granted > 100 && lapsed > 100);
  }
}

// Whatever is decided from bounds on the time is decided so at any time within them; of any entry.
TEST(a_frame_decides_as_every_time_in_it) {
  const Purse::Book book = bookOf();
  Random random = check::seeded("frame", 1);
  std::uint64_t verdicts[3] = {};
  for (int i = 0; i < check::scaled(400'000); ++i) {
    const std::uint64_t lowNs = random.magnitude(kYear);
    const std::uint64_t highNs = lowNs + (random.oneIn(4) ? 0 : random.magnitude(20 * kMs));
    const std::uint64_t cost = random.below(12);
    Key key(book);
    const std::uint64_t writtenNs = random.oneIn(20) ? lowNs + random.magnitude(kDay)
                                                     : lowNs - random.below(std::min(lowNs, kWindow) + 1);
    key.refund(writtenNs, random.below(12), random.below(kWindow));
    if (random.oneIn(10)) key.entry = {random.below(sluice::kPayloadMask), key.entry.meta};
    if (random.oneIn(20)) key.entry.meta |= sluice::kBlockedFlag;
    const auto frame = Purse::frame(book, 0, lowNs, highNs);
    const Verdict verdict = Purse::chargeWithin(frame, key.entry, cost);
    ++verdicts[static_cast<std::size_t>(verdict.kind)];
    if (verdict.kind == Verdict::Kind::kUnsure) continue;
    const bool admits = verdict.kind == Verdict::Kind::kAdmit;
    for (const std::uint64_t nowNs : {lowNs, highNs, random.between(lowNs, highNs)}) {
      const Step step = Purse::charge(book, 0, key.entry, nowNs, cost);
      const bool isRight = CHECK_EQ(step.outcome, admits ? Outcome::kAllowed : Outcome::kLimited) &&
                           CHECK_EQ(step.write, admits) &&
                           CHECK((!admits || step.next == Entry{verdict.payload, key.entry.meta}));
      if (!isRight) return check::note("low, high, now, cost:", lowNs, highNs, nowNs, cost);
    }
    std::uint64_t left = kNever;
    const Verdict atOnce = Purse::admitAt(Purse::frame(book, 0, lowNs, lowNs), key.entry, cost, &left);
    CHECK_EQ(atOnce.kind == Verdict::Kind::kAdmit, admits);
    if (admits) CHECK_EQ(left, key.peek(lowNs).remaining - cost);
  }
  for (const std::uint64_t count : verdicts) CHECK(count > 1000);
}

// A region's memory may hold anything.
TEST(any_bits_are_an_entry) {
  Random random = check::seeded("bits", 1);
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const Purse::Book book = bookOf(kTick + random.magnitude(kHorizonNs - kTick));
    const std::uint64_t nowNs = random.oneIn(8) ? random.next() : random.magnitude(kHorizonNs);
    Key key(book);
    key.entry = {random.next() & sluice::kPayloadMask, static_cast<std::uint32_t>(random.below(4096))};
    if (random.oneIn(8)) key.entry.payload |= 0xffff'ffff;
    const std::uint64_t left = key.peek(nowNs).remaining;
    CHECK(left <= kMost && (left == 0 || !sluice::Block::is(key.entry)));
    const std::uint64_t credited = key.refund(nowNs, random.magnitude(kMaxTokens), random.magnitude(kDay));
    CHECK(credited <= kMost - left);
    CHECK_EQ(key.penalize(nowNs, kMaxTokens), key.live(nowNs) || left != 0 ? left + credited : 0);
    CHECK_EQ(key.peek(nowNs).remaining, 0);
  }
}
