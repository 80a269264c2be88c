// Keys of which nothing is known, under policies that have another limit for their first window.
#include "core/fixed_window.h"

#include "random.h"
#include "single_key.h"
#include "table_keys.h"

using check::craftedKey;
using check::Random;
using sluice::Decision;
using sluice::Entry;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::PolicySpec;
using sluice::Step;
using sluice::Verdict;
using Align = FixedWindow::Align;
using Key = check::SingleKey<FixedWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;

// Ten in a window, three in the first of a new key, which is known for a minute.
constexpr PolicySpec kCautious{10, 0, 0, 0, 3, 60 * kSecond};

FixedWindow::Book bookOf(std::uint64_t windowNs, const std::vector<PolicySpec>& specs,
                         Align align = Align::kFirstRequest) {
  std::uint64_t maxLimit = 1;
  for (const PolicySpec& spec : specs) maxLimit = std::max(maxLimit, spec.limit);
  auto book = FixedWindow::Book::make(windowNs, maxLimit, align);
  CHECK(book.has_value());
  for (const PolicySpec& spec : specs) CHECK(book->add(spec).has_value());
  return *book;
}

FixedWindow::Book randomBook(Random& random) {
  const std::uint64_t windowNs = random.between(1000, random.magnitude(kDay) + 1000);
  std::vector<PolicySpec> specs;
  for (int i = 0; i < 3; ++i) {
    specs.push_back({random.magnitude(std::min<std::uint64_t>(windowNs, 1'000'000))});
    if (random.oneIn(3)) continue;
    specs.back().initial = random.between(1, specs.back().limit);
    specs.back().rememberNs = random.oneIn(3) ? 0 : random.magnitude(kDay);
  }
  return bookOf(windowNs, specs, random.oneIn(2) ? Align::kEpoch : Align::kFirstRequest);
}

}  // namespace

TEST(a_new_key_has_another_limit_in_its_first_window) {
  for (const Align align : {Align::kFirstRequest, Align::kEpoch}) {
    const FixedWindow::Book book = bookOf(kSecond, {kCautious}, align);
    Key key(book);
    CHECK_EQ(key.peek(kSecond).remaining, 3);
    CHECK_EQ(key.consume(kSecond, 2).remaining, 1);
    const Decision denied = key.consume(kSecond + kNsPerMs, 2);
    CHECK_EQ(denied.outcome, Outcome::kLimited);
    CHECK_EQ(denied.retryAfterNs, kSecond - kNsPerMs);
    CHECK(key.retryIsExact(kSecond, 2) && key.retryIsExact(kSecond, 10));
    CHECK_EQ(key.consume(2 * kSecond, 10).outcome, Outcome::kAllowed);
    CHECK_EQ(key.consume(2 * kSecond, 11).outcome, Outcome::kTooCostly);
  }
}

TEST(the_first_limit_may_be_the_greater_one) {
  const FixedWindow::Book book = bookOf(kSecond, {{10, 0, 0, 0, 25, kDay}});
  Key key(book);
  CHECK_EQ(key.consume(0, 11).outcome, Outcome::kTooCostly);
  CHECK_EQ(key.consume(0, 10).remaining, 15);
  CHECK_EQ(key.consume(0, 10).remaining, 5);
  CHECK_EQ(key.consume(0, 6).outcome, Outcome::kLimited);
  CHECK_EQ(key.refund(0, 1), 1);
  CHECK_EQ(key.consume(0, 6).remaining, 0);
  CHECK_EQ(key.peek(kSecond).remaining, 10);
}

TEST(only_charges_make_a_key_known) {
  const FixedWindow::Book book = bookOf(kSecond, {kCautious});
  Key key(book);
  for (const std::uint64_t cost : {0U, 11U, 1'000'000U}) {
    const Decision seen = key.consume(kSecond, cost);
    CHECK_EQ(seen.outcome, cost == 0 ? Outcome::kAllowed : Outcome::kTooCostly);
    CHECK_EQ(seen.remaining, 3);
  }
  CHECK_EQ(key.refund(kSecond, 5), 0);
  CHECK_EQ(key.penalize(kSecond, 0), 0);
  CHECK(key.entry == Entry{} && !key.live(kSecond));
}

TEST(a_denied_call_opens_the_first_window_and_its_wait_is_exact) {
  Random random = check::seeded("window initial waits", 1);
  for (int i = 0; i < check::scaled(50'000); ++i) {
    const FixedWindow::Book book = randomBook(random);
    const PolicySpec& spec = book.specAt(0);
    if (spec.initial == 0 || spec.initial == spec.limit) continue;
    Key key(book);
    const std::uint64_t nowNs = random.magnitude(kYear), cost = random.between(spec.initial + 1, spec.limit);
    const Decision denied = key.consume(nowNs, cost);
    const bool fine = CHECK_EQ(denied.outcome, Outcome::kLimited) &&
                      CHECK_EQ(denied.remaining, spec.initial) && CHECK(key.live(nowNs)) &&
                      key.retryIsExact(nowNs, cost) &&
                      CHECK_EQ(key.consume(nowNs, spec.initial).remaining, 0);
    if (!fine)
      return check::note("window, limit, initial:", book.options().windowNs, spec.limit, spec.initial);
  }
}

TEST(a_key_is_known_until_its_last_window_has_been_over_for_so_long) {
  const FixedWindow::Book book = bookOf(kSecond, {kCautious});
  Key key(book);
  CHECK_EQ(key.allow(kSecond, 1), Outcome::kAllowed);
  CHECK(key.live(62 * kSecond - 1) && !key.live(62 * kSecond));
  CHECK_EQ(key.peek(62 * kSecond - 1).remaining, 10);
  CHECK_EQ(key.peek(62 * kSecond).remaining, 3);
  Key renewed = key;
  CHECK_EQ(renewed.allow(61 * kSecond, 10), Outcome::kAllowed);
  CHECK_EQ(renewed.peek(122 * kSecond - 1).remaining, 10);
  CHECK_EQ(renewed.peek(122 * kSecond).remaining, 3);
  CHECK_EQ(key.allow(62 * kSecond, 4), Outcome::kLimited);
}

TEST(penalties_and_blocks_are_known) {
  const FixedWindow::Book book = bookOf(kSecond, {kCautious});
  Key penalized(book), blocked(book), charged(book);
  CHECK_EQ(penalized.penalize(kSecond, 5), 3);
  CHECK_EQ(penalized.peek(kSecond).remaining, 0);
  blocked.block(kSecond, 10 * kSecond);
  CHECK_EQ(blocked.peek(10 * kSecond - 1).outcome, Outcome::kBlocked);
  CHECK_EQ(blocked.peek(10 * kSecond).remaining, 10);
  CHECK(blocked.live(70 * kSecond - 1) && !blocked.live(70 * kSecond));
  CHECK_EQ(blocked.peek(70 * kSecond).remaining, 3);
  // A count that outlives the block is no longer in a first window.
  CHECK_EQ(charged.allow(kSecond, 2), Outcome::kAllowed);
  charged.block(kSecond, kSecond + kSecond / 2);
  CHECK_EQ(charged.peek(kSecond + kSecond / 2).remaining, 8);
  CHECK(charged.live(62 * kSecond + kSecond / 2 - 1) && !charged.live(62 * kSecond + kSecond / 2));
}

TEST(tiers_ask_for_themselves_whether_a_key_is_known) {
  constexpr std::uint32_t kNew = 0, kTrusted = 1, kForgetful = 2;
  const FixedWindow::Book book = bookOf(kSecond, {kCautious, {10}, {10, 0, 0, 0, 1, kSecond}});
  Key key(book);
  CHECK_EQ(key.peek(kSecond, kTrusted).remaining, 10);
  CHECK_EQ(key.allow(kSecond, 1, kNew), Outcome::kAllowed);
  CHECK_EQ(key.peek(kSecond, kTrusted).remaining, 9);
  CHECK_EQ(key.peek(kSecond, kForgetful).remaining, 0);
  CHECK_EQ(key.peek(3 * kSecond - 1, kForgetful).remaining, 10);
  CHECK_EQ(key.peek(3 * kSecond, kForgetful).remaining, 1);
  CHECK_EQ(key.peek(3 * kSecond, kNew).remaining, 10);
  // A window that a tier without a first limit opened is no first one.
  Key other(book);
  CHECK_EQ(other.allow(kSecond, 1, kTrusted), Outcome::kAllowed);
  CHECK_EQ(other.peek(kSecond, kNew).remaining, 9);
  CHECK(other.live(62 * kSecond - 1) && !other.live(62 * kSecond));
}

TEST(a_known_key_stays_known_when_the_policy_changes) {
  const auto table =
      check::makeTable<FixedWindow>(40, 1, *FixedWindow::Book::make(kSecond, 40, Align::kFirstRequest));
  check::TableKey<FixedWindow> key(*table, craftedKey(1, 1)), other(*table, craftedKey(2, 2));
  CHECK_EQ(table->setBasePolicy(kCautious).status, sluice::PolicyList::Added::kDone);
  CHECK_EQ(key.allow(kSecond, 1, table->basePolicy()), Outcome::kAllowed);
  PolicySpec changed = kCautious;
  changed.limit = 30;
  changed.initial = 5;
  CHECK_EQ(table->setBasePolicy(changed).status, sluice::PolicyList::Added::kDone);
  CHECK_EQ(key.peek(kSecond, table->basePolicy()).remaining, 4);
  CHECK_EQ(key.peek(3 * kSecond, table->basePolicy()).remaining, 30);
  CHECK_EQ(other.peek(3 * kSecond, table->basePolicy()).remaining, 5);
}

// The table forgets what is not live whenever it likes: nobody may notice.
TEST(what_is_not_live_means_the_same_as_nothing) {
  Random random = check::seeded("window initial live", 2);
  int dead = 0;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const FixedWindow::Book book = randomBook(random);
    Key key(book);
    const auto policy = static_cast<std::uint32_t>(random.below(3));
    const std::uint64_t writtenNs = random.magnitude(kYear), nowNs = writtenNs + random.magnitude(4 * kDay);
    key.penalize(writtenNs, random.magnitude(book[policy].limit), policy);
    if (random.oneIn(4)) key.refund(writtenNs, random.magnitude(1'000'000), 0, policy);
    if (random.oneIn(4)) key.block(writtenNs, writtenNs + random.magnitude(kDay), policy);
    if (key.live(nowNs)) continue;
    ++dead;
    for (std::uint32_t asked = 0; asked < 3; ++asked) {
      const std::uint64_t cost = random.between(0, book[asked].limit + 1);
      const Step step = FixedWindow::charge(book, asked, key.entry, nowNs, cost),
                 fresh = FixedWindow::charge(book, asked, Entry{}, nowNs, cost);
      const bool fine = CHECK_EQ(step.outcome, fresh.outcome) && CHECK_EQ(step.write, fresh.write) &&
                        CHECK(!step.write || step.next == fresh.next) &&
                        CHECK_EQ(key.peek(nowNs, asked).remaining, Key(book).peek(nowNs, asked).remaining);
      if (!fine) return check::note("iteration, asked, cost:", i, asked, cost);
    }
  }
  CHECK(dead > check::scaled(20'000));
}

// A key that is at its first limit is at its limit: it is not dropped to make room.
TEST(a_full_first_window_limits) {
  const FixedWindow::Book book = bookOf(kSecond, {kCautious});
  Key key(book);
  CHECK_EQ(key.allow(kSecond, 2), Outcome::kAllowed);
  CHECK(!FixedWindow::weigh(book, key.entry, kSecond).limiting);
  CHECK_EQ(key.allow(kSecond, 1), Outcome::kAllowed);
  const sluice::Weight weight = FixedWindow::weigh(book, key.entry, kSecond);
  CHECK(weight.limiting);
  CHECK_EQ(weight.limitingUntilNs, 2 * kSecond);
  CHECK_EQ(key.allow(2 * kSecond, 9), Outcome::kAllowed);
  CHECK(!FixedWindow::weigh(book, key.entry, 2 * kSecond).limiting);
  CHECK_EQ(key.allow(2 * kSecond, 1), Outcome::kAllowed);
  CHECK(FixedWindow::weigh(book, key.entry, 2 * kSecond).limiting);
}

TEST(a_step_back_keeps_a_first_window_the_first) {
  const FixedWindow::Book book = bookOf(kSecond, {kCautious});
  Key key(book);
  CHECK_EQ(key.allow(kDay, 2), Outcome::kAllowed);
  CHECK_EQ(key.consume(kSecond, 2).outcome, Outcome::kLimited);
  CHECK_EQ(key.consume(kSecond, 1).remaining, 0);
  CHECK_EQ(key.peek(2 * kSecond).remaining, 10);
}

TEST(policies_that_cannot_be_counted_or_remembered_are_refused) {
  FixedWindow::Book book = *FixedWindow::Book::make(kSecond, 10, Align::kEpoch);
  CHECK(book.add({10, 0, 0, 0, book.maxCount(), kHorizonNs}).has_value());
  CHECK(!book.add({10, 0, 0, 0, book.maxCount() + 1, kDay}).has_value());
  CHECK(!book.add({10, 0, 0, 0, 1, kHorizonNs + 1}).has_value());
}

// What is decided without the exact time is what charge decides.
TEST(frames_leave_first_windows_to_charge) {
  Random random = check::seeded("window initial frames", 3);
  int admitted = 0, refused = 0;
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const FixedWindow::Book book = randomBook(random);
    const auto asked = static_cast<std::uint32_t>(random.below(3)),
               writer = static_cast<std::uint32_t>(random.below(3));
    const std::uint64_t nowNs = random.magnitude(kYear), highNs = nowNs + random.magnitude(20 * kNsPerMs);
    Key key(book);
    if (!random.oneIn(8)) {
      const std::uint64_t agoNs = random.magnitude(std::min(nowNs, book.options().windowNs));
      key.penalize(nowNs - agoNs, random.magnitude(book[writer].limit), writer, random.below(2) * 1'000'000);
    }
    const std::uint64_t cost = random.magnitude(book[asked].limit);
    std::uint64_t left = 0;
    const Verdict at = FixedWindow::admitAt(FixedWindow::frame(book, asked, nowNs, nowNs), key.entry, cost,
                                            &left),
                  within = FixedWindow::chargeWithin(FixedWindow::frame(book, asked, nowNs, highNs),
                                                     key.entry, cost);
    admitted += at.kind == Verdict::Kind::kAdmit;
    refused += within.kind == Verdict::Kind::kRefuse;
    const Step step = FixedWindow::charge(book, asked, key.entry, nowNs, cost);
    bool fine = true;
    if (at.kind == Verdict::Kind::kAdmit) {
      const Entry next{at.payload, key.entry.meta};
      fine = CHECK(step.next == next) && CHECK_EQ(step.outcome, Outcome::kAllowed) &&
             CHECK_EQ(left, FixedWindow::describe(book, asked, next, nowNs, cost, step.outcome).remaining);
    }
    if (within.kind == Verdict::Kind::kAdmit) fine = CHECK_EQ(step.next.payload, within.payload) && fine;
    if (within.kind == Verdict::Kind::kRefuse)
      fine = CHECK_EQ(step.outcome, Outcome::kLimited) && CHECK(!step.write) && fine;
    if (!fine) return check::note("iteration, asked, now, cost:", i, asked, nowNs, cost);
  }
  CHECK(admitted > 1000 && refused > 1000);
}
