// What holds of every algorithm with wide entries: blocks lie beside what was spent, weights tell who limits,
// and no bits do harm.
#pragma once

#include <algorithm>

#include "random.h"
#include "single_key.h"

namespace check {

// A book of that window and limits; the first is the limiter's own.
template <class Algorithm>
typename Algorithm::Book bookOf(std::uint64_t windowNs, const std::vector<std::uint64_t>& limits) {
  auto book = Algorithm::Book::make({windowNs, *std::max_element(limits.begin(), limits.end()), 0});
  CHECK(book.has_value());
  for (const std::uint64_t limit : limits) {
    sluice::PolicySpec spec;
    spec.limit = limit;
    spec.windowNs = windowNs;
    CHECK(book->add(spec).has_value());
  }
  return *book;
}

template <class Entry>
bool holdsBlock(const Entry& entry) {
  return (entry.meta & sluice::kBlockedFlag) != 0;
}

template <class Algorithm>
void blocksLieBesideWhatWasSpent() {
  constexpr std::uint64_t kStart = 1000 * sluice::kNsPerSecond, kWindow = 1200 * sluice::kNsPerMs;
  const auto book = bookOf<Algorithm>(kWindow, {10});
  SingleKey<Algorithm> key(book);
  const std::uint64_t shortEnd = kStart + 100 * sluice::kNsPerMs, longEnd = kStart + 5 * kWindow;
  CHECK_EQ(key.consume(kStart, 7).remaining, 3);
  const std::uint64_t resetNs = kStart + key.peek(kStart).resetAfterNs;

  key.block(kStart, shortEnd);
  sluice::Decision seen = key.consume(kStart, 1);
  CHECK_EQ(seen.outcome, sluice::Outcome::kBlocked);
  CHECK_EQ(seen.remaining, 0);
  CHECK_EQ(seen.retryAfterNs, shortEnd - kStart);
  CHECK_EQ(seen.resetAfterNs, resetNs - kStart);
  CHECK_EQ(key.allow(shortEnd - 1, 1), sluice::Outcome::kBlocked);
  CHECK_EQ(key.allow(kStart, 11), sluice::Outcome::kBlocked);
  CHECK_EQ(key.allow(kStart, 0), sluice::Outcome::kBlocked);

  // Under the block tokens are taken and given back, and the block stays.
  CHECK_EQ(key.penalize(kStart, 2), 2);
  CHECK_EQ(key.refund(kStart, 1), 1);
  CHECK(holdsBlock(key.entry));
  CHECK_EQ(key.allow(shortEnd - 1, 1), sluice::Outcome::kBlocked);

  // After it what was spent still counts, and the next write clears it.
  CHECK_EQ(key.peek(shortEnd).remaining, 2);
  CHECK_EQ(key.allow(shortEnd, 3), sluice::Outcome::kLimited);
  CHECK(holdsBlock(key.entry));
  CHECK_EQ(key.consume(shortEnd, 2).remaining, 0);
  CHECK(!holdsBlock(key.entry));

  // A longer one outlives what was spent. It is lengthened, never shortened.
  key.block(shortEnd, longEnd - 2 * sluice::kNsPerMs);
  CHECK_EQ(key.peek(shortEnd).retryAfterNs, longEnd - 2 * sluice::kNsPerMs - shortEnd);
  key.block(shortEnd, longEnd);
  key.block(shortEnd, longEnd - sluice::kNsPerMs);
  key.block(shortEnd, shortEnd + 1);
  CHECK_EQ(key.peek(shortEnd).retryAfterNs, longEnd - shortEnd);
  CHECK_EQ(key.peek(shortEnd).resetAfterNs, longEnd - shortEnd);
  CHECK(key.live(longEnd - 1));
  CHECK(!key.live(longEnd));
  CHECK_EQ(key.consume(longEnd, 10).outcome, sluice::Outcome::kAllowed);

  SingleKey<Algorithm> unknown(book);
  unknown.block(kStart, longEnd);
  CHECK(unknown.live(longEnd - 1));
  CHECK_EQ(Algorithm::weigh(book, unknown.entry, kStart).limitingUntilNs, longEnd);
  CHECK_EQ(unknown.consume(longEnd, 10).outcome, sluice::Outcome::kAllowed);
}

// Who would be refused one token under the strictest tier is limiting, and until exactly when is known.
template <class Algorithm>
bool weighsRight(const SingleKey<Algorithm>& key, const typename Algorithm::Book& book, std::uint64_t nowNs,
                 std::uint32_t strictest) {
  const sluice::Decision seen = key.peek(nowNs, strictest, 1);
  const sluice::Weight weight = Algorithm::weigh(book, key.entry, nowNs);
  if (!CHECK_EQ(weight.limiting, seen.outcome == sluice::Outcome::kLimited)) return false;
  if (!weight.limiting) return CHECK(weight.consumed < 1);
  return CHECK(weight.consumed >= 1) && CHECK_EQ(weight.limitingUntilNs, nowNs + seen.retryAfterNs);
}

// Bits of any kind, but many that nearly make sense: of a time or a number close to `near`, or of large
// counts.
template <class Entry>
Entry anyBits(Random& random, std::uint64_t near) {
  Entry entry;
  const std::uint64_t kind = random.below(4);
  for (std::uint64_t& word : entry.words) {
    const std::uint64_t choice = kind == 3 ? random.below(3) : kind;
    if (choice == 0) word = random.next();
    if (choice == 1) word = near - 1000 + random.below(2000);
    if (choice == 2)
      word = random.oneIn(2) ? 0 : random.oneIn(2) ? ~std::uint64_t{0} : random.magnitude(~std::uint64_t{0});
  }
  if (random.oneIn(2)) entry.words[0] = near - random.below(20);
  if (random.oneIn(4)) entry.words[0] = near + random.magnitude(~std::uint64_t{0});
  if (random.oneIn(3)) entry.payload = random.next() & sluice::kPayloadMask;
  if (random.oneIn(3)) entry.meta = static_cast<std::uint32_t>(random.next()) & sluice::kMetaMask;
  return entry;
}

// Every verb on an entry of any bits: nothing is admitted beyond the limit, no wait is wrong, and what is
// written makes sense. `near` is what words of the present look like.
template <class Algorithm>
bool standsAnyBits(Random& random, const typename Algorithm::Book& book, std::uint64_t nowNs,
                   std::uint64_t near) {
  SingleKey<Algorithm> key(book);
  key.entry = anyBits<typename Algorithm::Entry>(random, near);
  const auto asked = static_cast<std::uint32_t>(random.below(book.size() + 2));  // two that there are not
  const std::uint64_t limit = book[asked].limit, cost = random.below(limit + 2);
  const std::size_t words = book.words();
  // Words that the table does not keep make no difference, and are not made up.
  auto shorter = key.entry;
  for (std::size_t i = words; i < shorter.words.size(); ++i) shorter.words[i] = 0;
  const auto step = Algorithm::charge(book, asked, key.entry, nowNs, cost);
  bool fine = CHECK(step.next == Algorithm::charge(book, asked, shorter, nowNs, cost).next);
  for (std::size_t i = words; i < step.next.words.size(); ++i) fine = CHECK_EQ(step.next.words[i], 0) && fine;
  key.entry = shorter;

  const std::uint64_t before = key.peek(nowNs, asked, 0).remaining;
  const sluice::Decision decision = key.consume(nowNs, cost, asked);
  fine = fine && CHECK(before <= limit);
  if (decision.outcome == sluice::Outcome::kAllowed)
    fine = fine && CHECK_EQ(decision.remaining, before - cost);
  else
    fine = fine && CHECK_EQ(decision.remaining, before);
  if (decision.outcome == sluice::Outcome::kLimited) fine = fine && key.retryIsExact(nowNs, cost, asked);
  // What came from the future has been healed, so that it is over within two windows and a bit.
  if (decision.outcome != sluice::Outcome::kBlocked) {
    fine = fine && CHECK(!Algorithm::charge(book, asked, key.entry, nowNs, 0).fromFuture) &&
           CHECK(decision.resetAfterNs <= 2 * book.options().windowNs + sluice::kClockToleranceNs);
  }
  const std::uint64_t ageNs = random.oneIn(2) ? 0 : random.magnitude(2 * nowNs);
  fine = fine && CHECK(key.refund(nowNs, limit, ageNs, asked) <= limit);
  key.penalize(nowNs, ~std::uint64_t{0}, asked);
  fine = fine && CHECK_EQ(key.peek(nowNs, asked, 0).remaining, 0);
  key.block(nowNs, nowNs + random.magnitude(nowNs), asked);
  Algorithm::weigh(book, key.entry, nowNs);
  return fine && CHECK(key.live(nowNs));
}

}  // namespace check
