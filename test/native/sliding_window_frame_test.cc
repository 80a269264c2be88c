// The sliding window's chargeWithin decides, from bounds on the present alone, what charge would decide at
// any time within them; admitAt, what it would decide at one time.
#include "core/sliding_window.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Entry;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::SlidingWindow;
using sluice::Step;
using sluice::Verdict;
using Key = check::SingleKey<SlidingWindow>;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond;
constexpr std::uint64_t kMaxWidthNs = 20 * kNsPerMs;  // two ticks of the slowest usual timer

struct Tally {
  int admitted = 0, refused = 0, unsure = 0;
  void count(const Verdict& verdict) {
    if (verdict.kind == Verdict::Kind::kAdmit)
      ++admitted;
    else if (verdict.kind == Verdict::Kind::kRefuse)
      ++refused;
    else
      ++unsure;
  }
};

SlidingWindow::Book randomBook(Random& random) {
  const std::uint64_t windowNs = random.between(2, 2 + random.magnitude(400 * kDay));
  const std::uint64_t limit = random.magnitude(std::min(windowNs, SlidingWindow::kMaxLimit));
  SlidingWindow::Book book = *SlidingWindow::Book::make({windowNs, limit, 1});
  CHECK(book.add({limit}).has_value() && book.add({random.between(1, limit)}).has_value());
  return book;
}

// An entry as it may be met: charged in this window, the one before or both, refunded, blocked, ahead of the
// present, long past, or none.
Entry randomEntry(Random& random, const SlidingWindow::Book& book, std::uint64_t nowNs) {
  const std::uint64_t windowNs = book.options().windowNs, most = book[0].limit;
  if (random.oneIn(20)) return {};
  Key key(book);
  const std::uint64_t backNs = random.below(2 * windowNs);
  std::uint64_t writtenNs = nowNs - std::min(nowNs, random.oneIn(20) ? random.magnitude(kDay) : backNs);
  if (random.oneIn(20)) writtenNs = nowNs + random.magnitude(kDay);
  for (int i = 0; i < 3; ++i) {
    const auto policy = static_cast<std::uint32_t>(random.below(2));
    const Step step = SlidingWindow::penalize(book, policy, key.entry, writtenNs, random.magnitude(most),
                                              random.oneIn(5) ? most : 0);
    if (step.write) key.entry = step.next;
    if (random.oneIn(5)) key.refund(writtenNs, random.magnitude(most));
    if (writtenNs < nowNs) writtenNs += random.below(nowNs - writtenNs + 1);
  }
  if (random.oneIn(10)) key.block(writtenNs, writtenNs + random.magnitude(random.oneIn(2) ? kSecond : kDay));
  return key.entry;
}

// Costs that nearly fit what is left.
std::uint64_t randomCost(Random& random, const SlidingWindow::Book& book, const Entry& entry,
                         std::uint32_t asked, std::uint64_t nowNs) {
  if (random.oneIn(4)) return random.between(0, book[0].limit + 1);
  return SlidingWindow::describe(book, asked, entry, nowNs, 0, Outcome::kAllowed).remaining + random.below(3);
}

// At `nowNs`, charge does what the verdict says.
bool holdsAt(const SlidingWindow::Book& book, std::uint32_t asked, const Entry& entry, const Verdict& verdict,
             std::uint64_t nowNs, std::uint64_t cost) {
  const Step step = SlidingWindow::charge(book, asked, entry, nowNs, cost);
  if (verdict.kind == Verdict::Kind::kRefuse)
    return CHECK_EQ(step.outcome, Outcome::kLimited) && CHECK(!step.write);
  return CHECK_EQ(step.outcome, Outcome::kAllowed) && CHECK(step.write) && CHECK(!step.fromFuture) &&
         CHECK_EQ(step.next.payload, verdict.payload) && CHECK_EQ(step.next.meta, entry.meta);
}

bool holdsThroughout(Random& random, const SlidingWindow::Book& book, const Entry& entry, std::uint64_t lowNs,
                     Tally& tally) {
  const auto asked = static_cast<std::uint32_t>(random.below(2));
  const std::uint64_t widest = std::min(kMaxWidthNs, 2 * book.options().windowNs);
  const std::uint64_t highNs = lowNs + (random.oneIn(4) ? 0 : random.magnitude(widest));
  const std::uint64_t cost = randomCost(random, book, entry, asked, random.oneIn(2) ? lowNs : highNs);
  const Verdict verdict =
      SlidingWindow::chargeWithin(SlidingWindow::frame(book, asked, lowNs, highNs), entry, cost);
  tally.count(verdict);
  if (verdict.kind == Verdict::Kind::kUnsure) return true;
  for (const std::uint64_t nowNs :
       {lowNs, highNs, random.between(lowNs, highNs), random.between(lowNs, highNs)}) {
    if (holdsAt(book, asked, entry, verdict, nowNs, cost)) continue;
    check::note("window, asked, payload, meta:", book.options().windowNs, asked, entry.payload, entry.meta);
    check::note("low, high, now, cost:", lowNs, highNs, nowNs, cost);
    return false;
  }
  return true;
}

}  // namespace

TEST(verdicts_hold_throughout_the_frame) {
  Random random = check::seeded("sliding frame", 1);
  Tally tally;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const SlidingWindow::Book book = randomBook(random);
    for (int k = 0; k < 4; ++k) {
      const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2);
      if (!holdsThroughout(random, book, randomEntry(random, book, nowNs), nowNs, tally)) return;
    }
  }
  CHECK(tally.admitted > 1000 && tally.refused > 1000 && tally.unsure > 1000);
}

// Within one window it is unsure only of costs that come to fit meanwhile.
TEST(a_frame_within_one_window_decides_unless_the_answer_changes) {
  Random random = check::seeded("sliding sure", 2);
  int changing = 0;
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const SlidingWindow::Book book = randomBook(random);
    const std::uint64_t windowNs = book.options().windowNs;
    const std::uint64_t startNs = random.magnitude(kHorizonNs / 4) / windowNs * windowNs;
    const std::uint64_t lowNs = startNs + random.below(windowNs),
                        highNs = random.between(lowNs, startNs + windowNs - 1);
    Key key(book);
    if (startNs != 0) key.penalize(startNs - 1, random.magnitude(book[0].limit));
    if (key.allow(lowNs, 1) != Outcome::kAllowed) continue;
    const std::uint64_t cost = randomCost(random, book, key.entry, 0, random.oneIn(2) ? lowNs : highNs);
    if (cost == 0 || cost > book[0].limit) continue;
    const Verdict verdict =
        SlidingWindow::chargeWithin(SlidingWindow::frame(book, 0, lowNs, highNs), key.entry, cost);
    if (verdict.kind != Verdict::Kind::kUnsure) continue;
    ++changing;
    const bool fine = CHECK_EQ(key.peek(lowNs, 0, cost).outcome, Outcome::kLimited) &&
                      CHECK_EQ(key.peek(highNs, 0, cost).outcome, Outcome::kAllowed);
    if (!fine) return check::note("window, low, high, cost:", windowNs, lowNs, highNs, cost);
  }
  CHECK(changing > 1000);
}

TEST(a_frame_across_two_windows_decides_nothing) {
  SlidingWindow::Book book = *SlidingWindow::Book::make({kSecond, 10, 1});
  CHECK(book.add({10}).has_value());
  Key key(book);
  key.allow(kSecond - 1, 1);
  const auto kindOf = [&](std::uint64_t lowNs, std::uint64_t highNs) {
    return SlidingWindow::chargeWithin(SlidingWindow::frame(book, 0, lowNs, highNs), key.entry, 1).kind;
  };
  CHECK(kindOf(0, kSecond - 1) == Verdict::Kind::kAdmit);
  CHECK(kindOf(kSecond - 1, kSecond) == Verdict::Kind::kUnsure);
  CHECK(kindOf(kSecond, kSecond) == Verdict::Kind::kUnsure);  // nothing was charged in this window yet
  CHECK(kindOf(kHorizonNs, kHorizonNs + kSecond) == Verdict::Kind::kUnsure);
  CHECK(SlidingWindow::chargeWithin({}, key.entry, 1).kind == Verdict::Kind::kUnsure);
}

// admitAt says yes where charge does, to the same effect, and tells what describe would. Of a key that was
// charged in this window it always says so.
TEST(admissions_at_one_moment_are_those_of_charge) {
  Random random = check::seeded("sliding moments", 3);
  int admitted = 0;
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const SlidingWindow::Book book = randomBook(random);
    const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2);
    const Entry entry = randomEntry(random, book, nowNs);
    const auto asked = static_cast<std::uint32_t>(random.below(2));
    const std::uint64_t cost = randomCost(random, book, entry, asked, nowNs);
    const SlidingWindow::Frame frame = SlidingWindow::frame(book, asked, nowNs, nowNs);
    std::uint64_t left = 0;
    const Verdict verdict = SlidingWindow::admitAt(frame, entry, cost, &left);
    const bool sure = SlidingWindow::chargeWithin(frame, entry, cost).kind == Verdict::Kind::kAdmit;
    if (!CHECK_EQ(verdict.kind == Verdict::Kind::kAdmit, sure)) return;
    if (!sure) continue;
    ++admitted;
    const Entry next{verdict.payload, entry.meta};
    const std::uint64_t remaining =
        SlidingWindow::describe(book, asked, next, nowNs, cost, Outcome::kAllowed).remaining;
    if (CHECK_EQ(left, remaining) && holdsAt(book, asked, entry, verdict, nowNs, cost)) continue;
    return check::note("asked, payload, meta, now, cost:", asked, entry.payload, entry.meta, nowNs, cost);
  }
  CHECK(admitted > 1000);
}

TEST(a_busy_key_is_nearly_always_decided) {
  SlidingWindow::Book book = *SlidingWindow::Book::make({kSecond, 100, 1});
  CHECK(book.add({100}).has_value());
  Key key(book);
  Tally tally;
  std::uint64_t nowNs = kSecond;
  for (int i = 0; i < 10'000; ++i, nowNs += kNsPerMs) {
    const auto frame = SlidingWindow::frame(book, 0, nowNs - 4 * kNsPerMs, nowNs);
    tally.count(SlidingWindow::chargeWithin(frame, key.entry, 1));
    key.allow(nowNs, 1);
  }
  CHECK(tally.admitted > 50 && tally.refused > 4000 && tally.unsure < 5000);
}

// 10 bits of the index lie in the payload here, the others in meta.
TEST(an_entry_of_another_cycle_of_the_payload_is_not_of_this_window) {
  SlidingWindow::Book book = *SlidingWindow::Book::make({kSecond, kSecond, 1});
  CHECK(book.add({kSecond}).has_value());
  Key key(book);
  key.allow(5 * kSecond, 5);
  int present = 0;
  for (std::uint64_t window = 0; window < 5000; ++window) {
    const SlidingWindow::Frame frame = SlidingWindow::frame(book, 0, window * kSecond, window * kSecond);
    present += SlidingWindow::chargeWithin(frame, key.entry, 1).kind != Verdict::Kind::kUnsure;
  }
  CHECK_EQ(present, 1);
}

TEST(zero_and_oversized_costs_are_left_to_charge) {
  SlidingWindow::Book book = *SlidingWindow::Book::make({kSecond, 10, 1});
  CHECK(book.add({10}).has_value());
  Key key(book);
  key.allow(0, 5);
  const SlidingWindow::Frame frame = SlidingWindow::frame(book, 0, 0, 0);
  std::uint64_t left = 0;
  for (const std::uint64_t cost : {std::uint64_t{0}, std::uint64_t{11}, ~std::uint64_t{0}}) {
    CHECK(SlidingWindow::chargeWithin(frame, key.entry, cost).kind == Verdict::Kind::kUnsure);
    CHECK(SlidingWindow::admitAt(frame, key.entry, cost, &left).kind == Verdict::Kind::kUnsure);
  }
  CHECK(SlidingWindow::chargeWithin(frame, key.entry, 6).kind == Verdict::Kind::kRefuse);
  CHECK(SlidingWindow::admitAt(frame, key.entry, 6, &left).kind == Verdict::Kind::kUnsure);
  CHECK(SlidingWindow::admitAt(frame, key.entry, 5, &left).kind == Verdict::Kind::kAdmit);
}
