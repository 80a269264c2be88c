// Concurrency: places held, released and lapsed, against a list of leases; tickets that are worth nothing.
#include "core/concurrency.h"

#include "sub_window_model.h"
#include "wide_checks.h"

using check::bookOf;
using check::Random;
using check::SubWindowModel;
using sluice::Concurrency;
using sluice::Decision;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::Outcome;
using Book = Concurrency::Book;
using Ticket = Concurrency::Ticket;

namespace {

constexpr std::uint64_t kSecond = kNsPerSecond, kDay = 86'400 * kSecond, kYear = 36525 * kDay / 100;
constexpr std::uint64_t kHold = 1200 * kNsPerMs;  // sub-windows of 100 ms

// A key that is named when it is entered anew, as a table does it.
class Key : public check::SingleKey<Concurrency> {
 public:
  explicit Key(const Book& book, std::uint32_t nonce = 1) : SingleKey(book), book_(book), nonce_(nonce) {}

  // The ticket, if the places were to be had.
  std::optional<Ticket> acquire(std::uint64_t nowNs, std::uint64_t places) {
    const bool isNew = entry == Concurrency::Entry{};
    if (allow(nowNs, places) != Outcome::kAllowed) return std::nullopt;
    if (isNew) Concurrency::name(entry, nonce_++);
    return Concurrency::ticketOf(entry);
  }
  std::uint64_t release(std::uint64_t nowNs, std::uint64_t places, const Ticket& ticket) {
    const auto step = Concurrency::release(book_, entry, nowNs, places, ticket);
    CHECK_EQ(step.outcome, Outcome::kAllowed);
    CHECK_EQ(step.write, step.amount != 0);
    if (step.write) entry = step.next;
    return step.amount;
  }
  void forget() { entry = {}; }

 private:
  const Book& book_;
  std::uint32_t nonce_;
};

struct Lease {
  std::uint64_t atNs, places;
  Ticket ticket;
  bool lost = false;  // the key was forgotten meanwhile
};

// One key with everybody who holds a place, or held one.
class Holders {
 public:
  Holders(const Book& book, std::uint64_t holdNs, std::uint64_t limit)
      : key_(book), grid_(holdNs), holdNs_(holdNs), limit_(limit) {}

  bool step(Random& random, std::uint64_t nowNs) {
    if (random.oneIn(40)) forget();
    // A table clears what carries no information whenever it likes.
    if (!key_.live(nowNs) && random.oneIn(2)) forget();
    const bool fine = random.oneIn(2) || leases_.empty() ? acquire(random, nowNs) : release(random, nowNs);
    return fine && CHECK_EQ(key_.peek(nowNs, 0, 0).remaining, limit_ - taken(nowNs)) &&
           CHECK(heldAt(nowNs) <= limit_);
  }
  std::uint64_t soonestChange(std::uint64_t nowNs) const { return key_.peek(nowNs, 0, limit_).retryAfterNs; }
  const SubWindowModel& grid() const { return grid_; }

 private:
  bool acquire(Random& random, std::uint64_t nowNs) {
    const std::uint64_t places = random.oneIn(2) ? 1 : random.between(1, limit_);
    const bool fits = taken(nowNs) + places <= limit_;
    if (!fits && !key_.retryIsExact(nowNs, places)) return false;
    const auto ticket = key_.acquire(nowNs, places);
    if (ticket) leases_.push_back({nowNs, places, *ticket});
    return CHECK_EQ(ticket.has_value(), fits);
  }

  bool release(Random& random, std::uint64_t nowNs) {
    const std::size_t which = random.below(leases_.size());
    const Lease lease = leases_[which];
    const std::uint64_t places = random.oneIn(4) ? random.between(1, lease.places) : lease.places;
    const std::uint64_t given = key_.release(nowNs, places, lease.ticket);
    bool fine = CHECK_EQ(given, counts(lease, nowNs) ? places : 0);
    // The bounds that are promised, whatever the grid.
    const std::uint64_t ageNs = nowNs - lease.atNs;
    if (ageNs < holdNs_ && !lease.lost) fine = CHECK_EQ(given, places) && fine;
    if (ageNs > holdNs_ + holdNs_ / 12 + 1) fine = CHECK_EQ(given, 0) && fine;
    leases_[which].places -= places;
    if (leases_[which].places == 0) leases_.erase(leases_.begin() + static_cast<std::ptrdiff_t>(which));
    return fine;
  }

  void forget() {
    key_.forget();
    for (Lease& lease : leases_) lease.lost = true;
  }

  bool counts(const Lease& lease, std::uint64_t nowNs) const {
    return !lease.lost && grid_.indexAt(nowNs) <= grid_.indexAt(lease.atNs) + 12;
  }
  std::uint64_t taken(std::uint64_t nowNs) const {
    std::uint64_t sum = 0;
    for (const Lease& lease : leases_) sum += counts(lease, nowNs) ? lease.places : 0;
    return sum;
  }
  // By those who believe that they hold a place.
  std::uint64_t heldAt(std::uint64_t nowNs) const {
    std::uint64_t sum = 0;
    for (const Lease& lease : leases_) sum += !lease.lost && nowNs - lease.atNs < holdNs_ ? lease.places : 0;
    return sum;
  }

  Key key_;
  SubWindowModel grid_;
  std::uint64_t holdNs_, limit_;
  std::vector<Lease> leases_;
};

std::uint64_t later(Random& random, const Holders& holders, std::uint64_t nowNs, std::uint64_t holdNs) {
  switch (random.below(5)) {
    case 0:
      return nowNs + random.magnitude(holdNs + holdNs / 4);
    case 1: {
      const SubWindowModel& grid = holders.grid();
      const std::uint64_t boundary = grid.startOf(grid.indexAt(nowNs) + random.between(1, 14));
      return std::max(nowNs, boundary + random.below(3) - 1);
    }
    case 2:
      return nowNs + holders.soonestChange(nowNs);
    default:
      return nowNs;
  }
}

}  // namespace

TEST(never_more_places_are_held_than_there_are) {
  Random random = check::seeded("leases", 1);
  for (int i = 0; i < check::scaled(4'000); ++i) {
    const std::uint64_t holdNs = 11 + random.magnitude(i % 3 == 0 ? kHorizonNs / 64 : kDay);
    const std::uint64_t limit = random.magnitude(i % 2 == 0 ? 12 : std::uint64_t{1} << 31);
    const Book book = bookOf<Concurrency>(holdNs, {limit});
    Holders holders(book, holdNs, limit);
    std::uint64_t nowNs = random.magnitude(kHorizonNs / 8);
    for (int step = 0; step < 150 && nowNs < kHorizonNs / 4; ++step) {
      nowNs = later(random, holders, nowNs, holdNs);
      if (holders.step(random, nowNs)) continue;
      return check::note("hold, limit, step, now:", holdNs, limit, step, nowNs);
    }
  }
}

TEST(a_place_is_held_until_it_is_released_or_lapses) {
  const Book book = bookOf<Concurrency>(kHold, {3});
  Key key(book);
  const auto first = key.acquire(1'000 * kNsPerMs, 1), second = key.acquire(1'099 * kNsPerMs, 2);
  CHECK(first && second);
  CHECK(!key.acquire(1'100 * kNsPerMs, 1));
  CHECK_EQ(key.peek(1'100 * kNsPerMs).retryAfterNs, kHold);  // at 2.3 s
  CHECK_EQ(key.release(2'000 * kNsPerMs, 2, *second), 2);
  CHECK_EQ(key.peek(2'000 * kNsPerMs).remaining, 2);
  const auto third = key.acquire(2'299 * kNsPerMs, 2);
  CHECK(third.has_value());
  CHECK_EQ(key.peek(2'300 * kNsPerMs).remaining, 1);  // the first has lapsed
  CHECK_EQ(key.release(2'300 * kNsPerMs, 1, *first), 0);
  CHECK_EQ(key.peek(2'300 * kNsPerMs).remaining, 1);
  CHECK_EQ(key.release(2'300 * kNsPerMs, 1, *third), 1);
  CHECK_EQ(key.release(2'300 * kNsPerMs, 9, *third), 1);  // no more than there are
  CHECK_EQ(key.peek(2'300 * kNsPerMs).remaining, 3);
  CHECK(!key.live(2'300 * kNsPerMs));
}

TEST(a_place_lapses_not_before_the_hold_and_soon_after) {
  Random random = check::seeded("lapses", 2);
  for (int i = 0; i < check::scaled(50'000); ++i) {
    const std::uint64_t holdNs = 11 + random.magnitude(kYear), nowNs = random.magnitude(10 * kYear);
    const Book book = bookOf<Concurrency>(holdNs, {1});
    Key key(book);
    const auto ticket = key.acquire(nowNs, 1);
    const Decision denied = key.consume(nowNs, 1);
    const bool fine = CHECK(ticket.has_value()) && CHECK_EQ(denied.outcome, Outcome::kLimited) &&
                      CHECK(denied.retryAfterNs >= holdNs) &&
                      CHECK(denied.retryAfterNs <= holdNs + holdNs / 12 + 1) &&
                      CHECK_EQ(denied.resetAfterNs, denied.retryAfterNs) && key.retryIsExact(nowNs, 1) &&
                      CHECK_EQ(Key(key).release(nowNs + denied.retryAfterNs - 1, 1, *ticket), 1) &&
                      CHECK_EQ(Key(key).release(nowNs + denied.retryAfterNs, 1, *ticket), 0);
    if (!fine) return check::note("hold, now:", holdNs, nowNs);
  }
}

TEST(a_ticket_of_before_the_key_was_forgotten_is_worth_nothing) {
  const Book book = bookOf<Concurrency>(kHold, {2});
  Key key(book);
  const auto before = key.acquire(kSecond, 1);
  key.forget();
  CHECK_EQ(key.release(kSecond, 1, *before), 0);  // nothing is known of the key
  const auto after = key.acquire(kSecond, 1);
  CHECK_EQ(before->index, after->index);
  CHECK(before->nonce != after->nonce);
  CHECK_EQ(key.release(kSecond, 1, *before), 0);
  CHECK_EQ(key.peek(kSecond).remaining, 1);
  CHECK_EQ(key.release(kSecond, 1, *after), 1);
}

TEST(a_ticket_of_another_key_is_worth_nothing) {
  const Book book = bookOf<Concurrency>(kHold, {2});
  Key one(book, 7), other(book, 8);
  const auto ofOne = one.acquire(kSecond, 1), ofOther = other.acquire(kSecond, 1);
  CHECK_EQ(other.release(kSecond, 1, *ofOne), 0);
  CHECK_EQ(one.release(kSecond, 1, *ofOther), 0);
  CHECK_EQ(one.release(kSecond, 1, {ofOne->index + 1, ofOne->nonce}), 0);
  CHECK_EQ(one.release(kSecond, 1, {ofOne->index - 1, ofOne->nonce}), 0);
  CHECK_EQ(one.release(kSecond, 1, {~std::uint64_t{0}, ofOne->nonce}), 0);
  CHECK_EQ(one.release(kSecond, 1, {0, ofOne->nonce}), 0);
  CHECK_EQ(one.peek(kSecond).remaining, 1);
}

// Why the holder of a ticket must see to it that it is used once.
TEST(a_second_release_would_give_back_the_place_of_a_neighbour) {
  const Book book = bookOf<Concurrency>(kHold, {2});
  Key key(book);
  const auto mine = key.acquire(1'000 * kNsPerMs, 1), theirs = key.acquire(1'099 * kNsPerMs, 1);
  CHECK(*mine == *theirs);
  CHECK_EQ(key.release(kSecond + kHold / 2, 1, *mine), 1);
  CHECK_EQ(key.release(kSecond + kHold / 2, 1, *mine), 1);
  CHECK_EQ(key.release(kSecond + kHold / 2, 1, *theirs), 0);
}

TEST(the_nonce_stays_while_the_counts_age) {
  const Book book = bookOf<Concurrency>(kHold, {5});
  for (const std::uint32_t nonce : {0U, 1U, 0x8000'0000U, ~0U}) {
    Key key(book, nonce);
    for (std::uint64_t nowNs = 0; nowNs < 4 * kHold; nowNs += kHold / 3) {
      const auto ticket = key.acquire(nowNs, 1);
      CHECK(ticket && ticket->nonce == nonce);
    }
    const Concurrency::Entry before = key.entry;
    Concurrency::name(key.entry, nonce ^ 5);
    CHECK_EQ(Concurrency::ticketOf(key.entry).nonce, nonce ^ 5);
    Concurrency::name(key.entry, nonce);
    CHECK(key.entry == before);
  }
}

TEST(late_callers_get_tickets_of_the_sub_window_in_which_they_count) {
  const Book book = bookOf<Concurrency>(kHold, {2});
  Key key(book);
  const auto early = key.acquire(5 * kSecond, 1), late = key.acquire(5 * kSecond - 3 * kHold / 12, 1);
  CHECK(early && late && *early == *late);
  CHECK_EQ(key.release(5 * kSecond - kSecond / 2, 1, *late), 1);
  CHECK_EQ(key.release(5 * kSecond + kHold, 1, *early), 1);
}

// Numbers of sub-windows mean others then, so tickets of before must not hit them.
TEST(an_impossible_future_takes_the_worth_of_tickets_along) {
  const Book book = bookOf<Concurrency>(kHold, {3});
  const std::uint64_t writtenNs = 1000 * kSecond, nowNs = 500 * kSecond;
  Key key(book);
  const auto early = key.acquire(writtenNs - 500 * kNsPerMs, 1), ticket = key.acquire(writtenNs, 1);
  Key first(key);
  // Until it is healed, the numbers are those of the tickets; a release heals it.
  const auto step = Concurrency::release(book, first.entry, nowNs, 1, *early);
  CHECK_EQ(step.amount, 1);
  CHECK(step.fromFuture);
  first.entry = step.next;
  CHECK_EQ(first.peek(nowNs).remaining, 2);
  CHECK_EQ(first.release(nowNs, 1, *ticket), 0);

  CHECK_EQ(key.allow(nowNs, 2), Outcome::kLimited);  // heals it, and no place was freed by that
  CHECK_EQ(key.release(nowNs, 1, *ticket), 0);
  CHECK_EQ(key.release(nowNs, 1, {Concurrency::ticketOf(key.entry).index, ticket->nonce}), 0);
  CHECK_EQ(key.peek(nowNs + kHold - 500 * kNsPerMs + 100 * kNsPerMs).remaining, 2);
  CHECK_EQ(key.peek(nowNs + kHold + 100 * kNsPerMs).remaining, 3);
  // When the time of the ticket comes again, its sub-window is another's.
  const auto anothers = key.acquire(writtenNs, 1);
  CHECK_EQ(anothers->index, ticket->index);
  CHECK_EQ(key.release(writtenNs, 1, *ticket), 0);
  CHECK_EQ(key.release(writtenNs, 1, *anothers), 1);
}

TEST(a_refund_gives_back_places_without_a_ticket) {
  const Book book = bookOf<Concurrency>(kHold, {3});
  Key key(book, 9);
  CHECK(key.acquire(kSecond, 2).has_value());
  CHECK_EQ(key.refund(kSecond + 1, 1, 0), 1);
  CHECK_EQ(key.refund(kSecond + kHold, 5, kHold), 1);
  CHECK_EQ(key.refund(kSecond + kHold, 5, kHold), 0);
}

TEST(no_place_is_owed) {
  const Book book = bookOf<Concurrency>(kHold, {3});
  const auto step = Concurrency::penalize(book, 0, {}, kSecond, 9, 9);
  CHECK_EQ(step.amount, 3);
  CHECK_EQ(Concurrency::penalize(book, 0, step.next, kSecond, 9, 9).amount, 0);
}

TEST(blocks_lie_beside_what_was_acquired) {
  check::blocksLieBesideWhatWasSpent<Concurrency>();
  const Book book = bookOf<Concurrency>(kHold, {3});
  Key key(book);
  const auto ticket = key.acquire(kSecond, 3);
  key.block(kSecond, 2 * kSecond);
  CHECK_EQ(key.release(kSecond, 1, *ticket), 1);
  CHECK(check::holdsBlock(key.entry));
  CHECK_EQ(key.release(2 * kSecond, 1, *ticket), 1);
  CHECK(!check::holdsBlock(key.entry));
  CHECK_EQ(key.peek(2 * kSecond).remaining, 2);
}

TEST(no_bits_do_harm) {
  Random random = check::seeded("lease bits", 3);
  for (int i = 0; i < check::scaled(100'000); ++i) {
    const std::uint64_t holdNs = 11 + random.magnitude(kYear), nowNs = random.magnitude(10 * kYear);
    const std::uint64_t limit = random.magnitude(std::uint64_t{1} << 31);
    const Book book = bookOf<Concurrency>(holdNs, {limit});
    const std::uint64_t near = SubWindowModel(holdNs).indexAt(nowNs);
    const auto entry = check::anyBits<Concurrency::Entry>(random, near);
    Ticket ticket = random.oneIn(2) ? Concurrency::ticketOf(entry) : Ticket{random.next(), 0};
    ticket.index -= random.oneIn(2) ? random.below(16) : 0;
    ticket.nonce = Concurrency::ticketOf(entry).nonce;
    const std::uint64_t tokens = random.next();
    const auto step = Concurrency::release(book, entry, nowNs, tokens, ticket);
    if (CHECK(step.amount <= tokens) && CHECK(step.amount <= ~std::uint32_t{0}) &&
        CHECK_EQ(step.write, step.amount != 0) &&
        check::standsAnyBits<Concurrency>(random, book, nowNs, near))
      continue;
    return check::note("hold, limit, now, i:", holdNs, limit, nowNs, i);
  }
}
