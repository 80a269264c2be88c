// Keys of which nothing is known, under policies that have them begin with less than a full bucket.
#include "core/token_bucket.h"

#include "bucket_model.h"
#include "random.h"
#include "single_key.h"
#include "table_keys.h"

using check::craftedKey;
using check::Random;
using sluice::Decision;
using sluice::Entry;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Step;
using sluice::TokenBucket;
using sluice::Verdict;
using Spec = TokenBucket::Spec;
using Key = check::SingleKey<TokenBucket>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;

TokenBucket::Book bookOf(const std::vector<Spec>& specs) {
  TokenBucket::Book book;
  for (const Spec& spec : specs) CHECK(book.add(spec).has_value());
  return book;
}

// Ten a second, at most 20, and 3 for a new key, which is known for a minute.
constexpr Spec kCautious{10, kSecond, 20, 0, 3, 60 * kSecond};

Spec randomSpec(Random& random) {
  Spec spec;
  while (!TokenBucket::makePolicy(spec)) {
    const std::uint64_t windowNs = random.magnitude(kDay);
    spec = {random.magnitude(windowNs), windowNs, random.magnitude(1'000'000)};
  }
  if (random.oneIn(3)) return spec;
  spec.initial = random.between(1, spec.burst);
  spec.rememberNs = random.oneIn(3) ? 0 : random.magnitude(kDay);
  return spec;
}

TokenBucket::Book randomBook(Random& random) {
  TokenBucket::Book book;
  while (book.size() < 3) book.add(randomSpec(random));
  return book;
}

}  // namespace

TEST(a_new_key_begins_with_little_and_refills_from_there) {
  const TokenBucket::Book book = bookOf({kCautious});
  Key key(book);
  const std::uint64_t startNs = 1000 * kSecond;
  CHECK_EQ(key.peek(startNs).remaining, 3);
  CHECK_EQ(key.consume(startNs + kSecond, 2).remaining, 1);
  CHECK_EQ(key.consume(startNs + kSecond, 2).retryAfterNs, kSecond / 10);
  CHECK_EQ(key.peek(startNs + 2 * kSecond).remaining, 11);
  CHECK_EQ(key.peek(startNs + 10 * kSecond).remaining, 20);
  CHECK_EQ(key.consume(startNs + 10 * kSecond, 20).outcome, Outcome::kAllowed);
}

TEST(only_charges_make_a_key_known) {
  const TokenBucket::Book book = bookOf({kCautious});
  Key key(book);
  for (const std::uint64_t cost : {std::uint64_t{0}, std::uint64_t{21}, sluice::kMaxTokens}) {
    const Decision seen = key.consume(kSecond, cost);
    CHECK_EQ(seen.outcome, cost == 0 ? Outcome::kAllowed : Outcome::kTooCostly);
    CHECK_EQ(seen.remaining, 3);
  }
  CHECK_EQ(key.refund(kSecond, 5), 0);
  CHECK_EQ(key.penalize(kSecond, 0), 0);
  CHECK(key.entry == Entry{});
  CHECK(!key.live(kSecond));
}

TEST(a_denied_call_makes_a_key_known_and_its_wait_is_exact) {
  Random random = check::seeded("initial waits", 1);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    Spec spec = randomSpec(random);
    if (spec.initial == 0 || spec.initial == spec.burst) continue;
    const TokenBucket::Book book = bookOf({spec});
    Key key(book);
    const std::uint64_t nowNs = random.magnitude(kYear), cost = random.between(spec.initial + 1, spec.burst);
    const Decision denied = key.consume(nowNs, cost);
    const std::uint64_t unitNs = 20, exactNs = static_cast<std::uint64_t>(
                                         sluice::Uint128{cost - spec.initial} * spec.windowNs / spec.limit);
    const bool fine =
        CHECK_EQ(denied.outcome, Outcome::kLimited) && CHECK_EQ(denied.remaining, spec.initial) &&
        CHECK(key.live(nowNs)) && key.retryIsExact(nowNs, cost) &&
        CHECK(denied.retryAfterNs <= exactNs + unitNs && denied.retryAfterNs + unitNs >= exactNs);
    if (!fine)
      return check::note("limit, window, burst, initial:", spec.limit, spec.windowNs, spec.burst,
                         spec.initial);
  }
}

TEST(a_key_is_known_until_it_has_been_full_for_so_long) {
  const TokenBucket::Book book = bookOf({kCautious});
  Key key(book);
  const std::uint64_t startNs = 100 * kSecond, fullNs = startNs + 1800 * kNsPerMs;  // 18 of 20 are missing
  CHECK_EQ(key.allow(startNs, 1), Outcome::kAllowed);
  CHECK_EQ(key.peek(startNs).resetAfterNs, fullNs - startNs);
  CHECK(key.live(fullNs + 60 * kSecond - 1) && !key.live(fullNs + 60 * kSecond));
  CHECK_EQ(key.peek(fullNs + 60 * kSecond - 1).remaining, 20);
  CHECK_EQ(key.peek(fullNs + 60 * kSecond).remaining, 3);
  // Being known is renewed by a charge, and by that alone.
  Key renewed = key;
  CHECK_EQ(renewed.allow(fullNs + 59 * kSecond, 1), Outcome::kAllowed);
  CHECK_EQ(renewed.peek(fullNs + 119 * kSecond + 99 * kNsPerMs).remaining, 20);
  CHECK_EQ(renewed.peek(fullNs + 119 * kSecond + 100 * kNsPerMs).remaining, 3);
  CHECK_EQ(key.allow(fullNs + 60 * kSecond, 4), Outcome::kLimited);
}

TEST(a_key_whose_bucket_was_refunded_stays_known) {
  const TokenBucket::Book book = bookOf({kCautious});
  for (const std::uint64_t nowNs : {std::uint64_t{0}, std::uint64_t{1}, kSecond}) {
    Key key(book);
    CHECK_EQ(key.allow(nowNs, 1), Outcome::kAllowed);
    CHECK_EQ(key.refund(nowNs, 1), 1);
    CHECK_EQ(key.peek(nowNs).remaining, 3);
    CHECK_EQ(key.refund(nowNs, 100), 17);
    CHECK(key.live(nowNs + 60 * kSecond - 1));
    CHECK_EQ(key.peek(nowNs + kSecond).remaining, 20);
    CHECK_EQ(key.peek(nowNs + 61 * kSecond).remaining, 3);
  }
}

TEST(penalties_and_blocks_are_known) {
  const TokenBucket::Book book = bookOf({kCautious});
  Key penalized(book), blocked(book);
  CHECK_EQ(penalized.penalize(kSecond, 5), 3);
  CHECK_EQ(penalized.peek(kSecond).remaining, 0);
  blocked.block(kSecond, 2 * kSecond);  // ten tokens later
  CHECK_EQ(blocked.peek(2 * kSecond - 1).outcome, Outcome::kBlocked);
  CHECK_EQ(blocked.peek(2 * kSecond).remaining, 13);
  CHECK_EQ(blocked.peek(62 * kSecond + 699 * kNsPerMs).remaining, 20);
  CHECK_EQ(blocked.peek(62 * kSecond + 700 * kNsPerMs).remaining, 3);
  Key longer(book);
  longer.block(kSecond, 100 * kSecond);
  CHECK_EQ(longer.peek(100 * kSecond).remaining, 20);
  CHECK(longer.live(160 * kSecond - 1) && !longer.live(160 * kSecond));
}

// C1 for a new key: in a time d from its first call on, no more than `initial` and what has refilled.
TEST(a_new_key_gets_no_more_than_it_begins_with) {
  Random random = check::seeded("initial bound", 2);
  for (int i = 0; i < check::scaled(20'000); ++i) {
    const Spec spec = randomSpec(random);
    if (spec.initial == 0) continue;
    const TokenBucket::Book book = bookOf({spec});
    Key key(book);
    const std::uint64_t startNs = random.magnitude(kYear);
    std::uint64_t nowNs = startNs, admitted = 0;
    for (int call = 0; call < 60; ++call) {
      if (random.oneIn(3)) nowNs += random.magnitude(4 * spec.windowNs / spec.limit + 1);
      const std::uint64_t cost = random.oneIn(2) ? 1 : random.magnitude(spec.burst);
      if (key.allow(nowNs, cost) == Outcome::kAllowed) admitted += cost;
      const sluice::Uint128 refilled = sluice::Uint128{nowNs - startNs + 16} * spec.limit / spec.windowNs + 1;
      if (!CHECK(admitted <= spec.initial + refilled))
        return check::note("limit, window, burst, initial:", spec.limit, spec.windowNs, spec.burst,
                           spec.initial);
    }
  }
}

// The table forgets what is not live whenever it likes: nobody may notice.
TEST(what_is_not_live_means_the_same_as_nothing) {
  Random random = check::seeded("initial live", 3);
  int dead = 0;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const TokenBucket::Book book = randomBook(random);
    Key key(book);
    const auto policy = static_cast<std::uint32_t>(random.below(3));
    const std::uint64_t writtenNs = random.magnitude(kYear), nowNs = writtenNs + random.magnitude(4 * kDay);
    key.penalize(writtenNs, random.magnitude(book[policy].burst), policy);
    if (random.oneIn(4)) key.refund(writtenNs, random.magnitude(1'000'000), 0, policy);
    if (random.oneIn(4)) key.block(writtenNs, writtenNs + random.magnitude(kDay), policy);
    if (key.live(nowNs)) continue;
    ++dead;
    for (std::uint32_t asked = 0; asked < 3; ++asked) {
      const std::uint64_t cost = random.between(0, book[asked].burst + 1);
      const Step step = TokenBucket::charge(book, asked, key.entry, nowNs, cost),
                 fresh = TokenBucket::charge(book, asked, Entry{}, nowNs, cost);
      const bool fine = CHECK_EQ(step.outcome, fresh.outcome) && CHECK_EQ(step.write, fresh.write) &&
                        CHECK(!step.write || step.next == fresh.next) &&
                        CHECK_EQ(key.peek(nowNs, asked).remaining, Key(book).peek(nowNs, asked).remaining);
      if (!fine) return check::note("iteration, asked, cost:", i, asked, cost);
    }
  }
  CHECK(dead > check::scaled(20'000));
}

TEST(tiers_differ_in_what_a_new_key_gets) {
  constexpr std::uint32_t kNew = 0, kTrusted = 1;
  const TokenBucket::Book book = bookOf({kCautious, {10, kSecond, 20}});
  Key key(book);
  CHECK_EQ(key.peek(kSecond, kTrusted).remaining, 20);
  CHECK_EQ(key.allow(kSecond, 5, kTrusted), Outcome::kAllowed);
  CHECK_EQ(key.peek(kSecond, kNew).remaining, 15);
  // The tier that drains it does not remember it once it is full.
  CHECK_EQ(key.peek(kSecond + 500 * kNsPerMs - 1, kNew).remaining, 19);
  CHECK_EQ(key.peek(kSecond + 500 * kNsPerMs, kNew).remaining, 3);
  CHECK_EQ(key.allow(2 * kSecond, 1, kNew), Outcome::kAllowed);
  CHECK_EQ(key.peek(10 * kSecond, kNew).remaining, 20);
  CHECK_EQ(key.peek(10 * kSecond, kTrusted).remaining, 20);
}

TEST(a_known_key_stays_known_when_the_policy_changes) {
  const auto table = check::makeTable<TokenBucket>(40, 1, {});
  check::TableKey<TokenBucket> key(*table, craftedKey(1, 1)), other(*table, craftedKey(2, 2));
  CHECK_EQ(table->setBasePolicy(kCautious).status, sluice::PolicyList::Added::kDone);
  CHECK_EQ(key.allow(kSecond, 1, table->basePolicy()), Outcome::kAllowed);
  Spec changed = kCautious;
  changed.burst = 30;
  CHECK_EQ(table->setBasePolicy(changed).status, sluice::PolicyList::Added::kDone);
  CHECK_EQ(key.peek(kSecond, table->basePolicy()).remaining, 2);
  CHECK_EQ(key.peek(30 * kSecond, table->basePolicy()).remaining, 30);
  CHECK_EQ(other.peek(30 * kSecond, table->basePolicy()).remaining, 3);
}

// At 10^9 tokens a second times wrap in 36 years.
TEST(keys_of_the_fastest_policies_are_remembered_across_a_wrap) {
  constexpr std::uint64_t kBillion = 1'000'000'000, kWrapNs = std::uint64_t{1} << sluice::kPayloadBits;
  const TokenBucket::Book book = bookOf({{kBillion, kSecond, kBillion, 0, 5, 400 * kDay}});
  CHECK(book[0].wraps);
  for (const std::uint64_t startNs :
       {kDay, kWrapNs - kSecond - kDay, kWrapNs - 5, kWrapNs + 5, 3 * kWrapNs - kDay}) {
    Key key(book);
    CHECK_EQ(key.peek(startNs).remaining, 5);
    CHECK_EQ(key.allow(startNs, 5), Outcome::kAllowed);
    CHECK_EQ(key.peek(startNs + 2 * kDay).remaining, kBillion);
    CHECK(key.live(startNs + 400 * kDay) && !key.live(startNs + 401 * kDay));
    CHECK_EQ(key.peek(startNs + 401 * kDay).remaining, 5);
  }
}

TEST(policies_that_cannot_be_remembered_are_refused) {
  TokenBucket::Book book;
  CHECK(!book.add({10, kSecond, 20, 0, 21}).has_value());
  CHECK(book.add({10, kSecond, 20, 0, 20}).has_value());
  CHECK(book.add({10, kSecond, 20, 0, 1, kHorizonNs}).has_value());
  CHECK(!book.add({10, kSecond, 20, 0, 1, kHorizonNs + 1}).has_value());
  CHECK(book.add({1'000'000'000, kSecond, 20, 0, 1, 36 * kYear}).has_value());
  CHECK(!book.add({1'000'000'000, kSecond, 20, 0, 1, 37 * kYear}).has_value());
}

// What is decided without the exact time, or without a look at what is known, is what charge decides.
TEST(frames_leave_unknown_keys_to_charge) {
  Random random = check::seeded("initial frames", 4);
  int admitted = 0, admittedAt = 0, refused = 0;
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const TokenBucket::Book book = randomBook(random);
    const auto asked = static_cast<std::uint32_t>(random.below(3));
    const std::uint64_t nowNs = random.magnitude(kYear), highNs = nowNs + random.magnitude(20 * kNsPerMs);
    Key key(book);
    if (!random.oneIn(4)) {
      const std::uint64_t agoNs = random.oneIn(2) ? 0 : random.magnitude(nowNs);
      key.penalize(nowNs - agoNs, random.magnitude(book[asked].burst), asked, random.below(2) * 1'000'000);
    }
    const std::uint64_t cost = random.magnitude(book[asked].burst);
    const Step step = TokenBucket::charge(book, asked, key.entry, nowNs, cost);
    std::uint64_t left = 0;
    const Verdict at = TokenBucket::admitAt(TokenBucket::frame(book, asked, nowNs, nowNs), key.entry, cost,
                                            &left),
                  within = TokenBucket::chargeWithin(TokenBucket::frame(book, asked, nowNs, highNs),
                                                     key.entry, cost);
    bool fine = true;
    if (at.kind != Verdict::Kind::kUnsure) {
      const Entry next{at.payload, key.entry.meta};
      fine = CHECK_EQ(step.outcome, Outcome::kAllowed) && CHECK(step.next == next) &&
             CHECK_EQ(left, TokenBucket::describe(book, asked, next, nowNs, cost, step.outcome).remaining);
      ++admittedAt;
    }
    if (within.kind == Verdict::Kind::kRefuse)
      fine = CHECK_EQ(step.outcome, Outcome::kLimited) && CHECK(!step.write) && fine;
    if (within.kind == Verdict::Kind::kAdmit) fine = CHECK_EQ(step.next.payload, within.payload) && fine;
    admitted += within.kind == Verdict::Kind::kAdmit;
    refused += within.kind == Verdict::Kind::kRefuse;
    if (!fine) return check::note("iteration, asked, now, cost:", i, asked, nowNs, cost);
  }
  CHECK(admitted > 1000 && refused > 1000 && admittedAt > 1000);
}
