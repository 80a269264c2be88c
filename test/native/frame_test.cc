// chargeWithin decides, from bounds on the present alone, what charge would decide at any time within them.
#include "core/fixed_window.h"
#include "core/token_bucket.h"

#include "random.h"
#include "single_key.h"

using check::Random;
using sluice::Entry;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kMaxTokens;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using sluice::Step;
using sluice::TokenBucket;
using sluice::Verdict;

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

// At `nowNs`, charge does what the verdict says.
template <class Algorithm>
bool holdsAt(const typename Algorithm::Book& book, std::uint32_t asked, const Entry& entry,
             const Verdict& verdict, std::uint64_t nowNs, std::uint64_t cost) {
  const Step step = Algorithm::charge(book, asked, entry, nowNs, cost);
  if (verdict.kind == Verdict::Kind::kRefuse)
    return CHECK_EQ(step.outcome, Outcome::kLimited) && CHECK(!step.write);
  return CHECK_EQ(step.outcome, Outcome::kAllowed) && CHECK_EQ(step.next.payload, verdict.payload) &&
         CHECK_EQ(step.next.meta, entry.meta);
}

template <class Algorithm>
bool holdsThroughout(Random& random, const typename Algorithm::Book& book, const Entry& entry,
                     std::uint64_t lowNs, std::uint64_t cost, Tally& tally) {
  const auto asked = static_cast<std::uint32_t>(random.below(book.size()));
  const std::uint64_t highNs = lowNs + (random.oneIn(4) ? 0 : random.magnitude(kMaxWidthNs));
  const Verdict verdict = Algorithm::chargeWithin(Algorithm::frame(book, asked, lowNs, highNs), entry, cost);
  tally.count(verdict);
  if (verdict.kind == Verdict::Kind::kUnsure) return true;
  for (const std::uint64_t nowNs :
       {lowNs, highNs, random.between(lowNs, highNs), random.between(lowNs, highNs)}) {
    if (holdsAt<Algorithm>(book, asked, entry, verdict, nowNs, cost)) continue;
    check::note("asked, payload, meta:", asked, entry.payload, entry.meta);
    check::note("low, high, now, cost:", lowNs, highNs, nowNs, cost);
    return false;
  }
  return true;
}

// An entry as it may be met: spent, refunded, blocked, written at another time or under another policy, or
// anything.
template <class Algorithm>
Entry randomEntry(Random& random, const typename Algorithm::Book& book, std::uint64_t nowNs,
                  std::uint64_t most) {
  if (random.oneIn(20))
    return {random.below(sluice::kPayloadMask), static_cast<std::uint32_t>(random.below(book.size()))};
  check::SingleKey<Algorithm> key(book);
  const auto policy = static_cast<std::uint32_t>(random.below(book.size()));
  const std::uint64_t writtenNs =
      random.oneIn(10) ? nowNs + random.magnitude(kDay) : nowNs - random.below(std::min(nowNs, kSecond) + 1);
  key.penalize(writtenNs, random.between(1, most), policy);
  if (random.oneIn(10))
    key.block(writtenNs, writtenNs + random.magnitude(random.oneIn(2) ? kSecond : 8 * nowNs));
  return key.entry;
}

// Costs that nearly fit what is left.
template <class Algorithm>
std::uint64_t randomCost(Random& random, const typename Algorithm::Book& book, const Entry& entry,
                         std::uint64_t nowNs, std::uint64_t most) {
  const std::uint64_t left = Algorithm::describe(book, 0, entry, nowNs, 0, Outcome::kAllowed).remaining;
  return random.oneIn(2) ? random.between(0, most + 1) : left + random.below(3);
}

TokenBucket::Book randomBuckets(Random& random) {
  TokenBucket::Book book;
  while (book.size() < 2) {
    const std::uint64_t windowNs = random.magnitude(kDay), limit = random.magnitude(windowNs);
    book.add({limit, windowNs, random.magnitude(1'000'000)});
  }
  return book;
}

FixedWindow::Book randomWindows(Random& random) {
  const std::uint64_t windowNs = random.between(128, random.magnitude(400 * kDay) + 128);
  const std::uint64_t limit = random.magnitude(std::min(windowNs, kMaxTokens));
  const auto align = random.oneIn(2) ? FixedWindow::Align::kEpoch : FixedWindow::Align::kFirstRequest;
  FixedWindow::Book book = *FixedWindow::Book::make(windowNs, limit, align);
  CHECK(book.add({limit}).has_value() && book.add({random.between(1, limit)}).has_value());
  return book;
}

}  // namespace

TEST(token_bucket_verdicts_hold_throughout_the_frame) {
  Random random = check::seeded("frame bucket", 1);
  Tally tally;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const TokenBucket::Book book = randomBuckets(random);
    for (int k = 0; k < 4; ++k) {
      const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2),
                          most = std::max(book[0].burst, book[1].burst);
      const Entry entry = randomEntry<TokenBucket>(random, book, nowNs, most);
      const std::uint64_t cost = randomCost<TokenBucket>(random, book, entry, nowNs, most);
      if (!holdsThroughout<TokenBucket>(random, book, entry, nowNs, cost, tally)) return;
    }
  }
  CHECK(tally.admitted > 1000 && tally.refused > 1000 && tally.unsure > 1000);
}

TEST(fixed_window_verdicts_hold_throughout_the_frame) {
  Random random = check::seeded("frame window", 2);
  Tally tally;
  for (int i = 0; i < check::scaled(200'000); ++i) {
    const FixedWindow::Book book = randomWindows(random);
    for (int k = 0; k < 4; ++k) {
      const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2), most = book[0].limit;
      const Entry entry = randomEntry<FixedWindow>(random, book, nowNs, most);
      const std::uint64_t cost = randomCost<FixedWindow>(random, book, entry, nowNs, most);
      if (!holdsThroughout<FixedWindow>(random, book, entry, nowNs, cost, tally)) return;
    }
  }
  CHECK(tally.admitted > 1000 && tally.refused > 1000 && tally.unsure > 1000);
}

// admitAt says yes where charge does, to the same effect, and tells what describe would. Where charge
// refuses, it says nothing. How often it said yes is counted.
template <class Algorithm>
static bool admitsAsChargeDoes(Random& random, const typename Algorithm::Book& book, std::uint64_t most,
                               int* admitted) {
  const std::uint64_t nowNs = random.magnitude(kHorizonNs / 2);
  const Entry entry = randomEntry<Algorithm>(random, book, nowNs, most);
  const std::uint64_t cost = randomCost<Algorithm>(random, book, entry, nowNs, most);
  const auto asked = static_cast<std::uint32_t>(random.below(book.size()));
  std::uint64_t left = 0;
  const Verdict verdict = Algorithm::admitAt(Algorithm::frame(book, asked, nowNs, nowNs), entry, cost, &left);
  if (verdict.kind == Verdict::Kind::kUnsure) return true;
  ++*admitted;
  const Entry next{verdict.payload, entry.meta};
  const std::uint64_t remaining =
      Algorithm::describe(book, asked, next, nowNs, cost, Outcome::kAllowed).remaining;
  const bool fine = CHECK(verdict.kind == Verdict::Kind::kAdmit) && CHECK_EQ(left, remaining) &&
                    holdsAt<Algorithm>(book, asked, entry, verdict, nowNs, cost);
  if (!fine) check::note("asked, payload, meta, now, cost:", asked, entry.payload, entry.meta, nowNs, cost);
  return fine;
}

TEST(admissions_at_one_moment_are_those_of_charge) {
  Random random = check::seeded("frame moments", 5);
  int bucketsAdmitted = 0, windowsAdmitted = 0;
  for (int i = 0; i < check::scaled(300'000); ++i) {
    const TokenBucket::Book buckets = randomBuckets(random);
    const std::uint64_t most = std::max(buckets[0].burst, buckets[1].burst);
    if (!admitsAsChargeDoes<TokenBucket>(random, buckets, most, &bucketsAdmitted)) return;
    const FixedWindow::Book windows = randomWindows(random);
    if (!admitsAsChargeDoes<FixedWindow>(random, windows, windows[0].limit, &windowsAdmitted)) return;
  }
  CHECK(bucketsAdmitted > 1000 && windowsAdmitted > 1000);
}

TEST(a_busy_key_is_nearly_always_decided) {
  TokenBucket::Book book;
  CHECK(book.add({100, kSecond, 100}).has_value());
  check::SingleKey<TokenBucket> key(book);
  Tally tally;
  std::uint64_t nowNs = kSecond;
  for (int i = 0; i < 10'000; ++i, nowNs += kNsPerMs) {
    tally.count(
        TokenBucket::chargeWithin(TokenBucket::frame(book, 0, nowNs - 4 * kNsPerMs, nowNs), key.entry, 1));
    key.allow(nowNs, 1);
  }
  CHECK(tally.admitted > 50 && tally.refused > 4000 && tally.unsure < 5000);
}

// The entry of a block is none that a frame may take for a time or a count, whichever policy it remembers.
TEST(blocked_keys_are_never_decided) {
  Random random = check::seeded("frame blocks", 3);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    TokenBucket::Book book;
    const std::uint64_t limit = random.oneIn(2) ? kSecond : random.magnitude(kSecond);
    CHECK(book.add({limit, kSecond, random.magnitude(kSecond)}).has_value());
    const std::uint64_t nowNs = random.magnitude(kDay), untilNs = nowNs + random.magnitude(16 * nowNs);
    check::SingleKey<TokenBucket> key(book);
    key.block(nowNs, untilNs);
    const Verdict verdict =
        TokenBucket::chargeWithin(TokenBucket::frame(book, 0, nowNs, nowNs), key.entry, 1);
    if (!CHECK(verdict.kind == Verdict::Kind::kUnsure))
      return check::note("limit, now, until:", limit, nowNs, untilNs);
  }
}

TEST(zero_and_oversized_costs_are_left_to_charge) {
  Random random = check::seeded("frame costs", 4);
  const TokenBucket::Book buckets = randomBuckets(random);
  const FixedWindow::Book windows = randomWindows(random);
  check::SingleKey<TokenBucket> bucket(buckets);
  check::SingleKey<FixedWindow> window(windows);
  bucket.allow(kSecond, 1);
  window.allow(kSecond, 1);
  for (const std::uint64_t cost : {std::uint64_t{0}, kMaxTokens}) {
    CHECK(TokenBucket::chargeWithin(TokenBucket::frame(buckets, 0, kSecond, kSecond), bucket.entry, cost)
              .kind == Verdict::Kind::kUnsure);
    const bool tooCostly = cost == 0 || cost > windows[0].limit;
    const Verdict verdict =
        FixedWindow::chargeWithin(FixedWindow::frame(windows, 0, kSecond, kSecond), window.entry, cost);
    CHECK(!tooCostly || verdict.kind == Verdict::Kind::kUnsure);
  }
}
