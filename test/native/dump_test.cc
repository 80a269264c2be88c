// Dumps: what comes back is what was there, whatever the algorithm; and what is no whole dump does no harm.
#include "core/dump.h"

#include "limit_tables.h"
#include "threads.h"

using check::craftedKey;
using check::inWindow;
using check::isBucket;
using check::numberedKey;
using check::Random;
using sluice::checkDump;
using sluice::Concurrency;
using sluice::Decision;
using sluice::Dump;
using sluice::DumpHeader;
using sluice::FixedWindow;
using sluice::kHorizonNs;
using sluice::kNsPerMs;
using sluice::kNsPerSecond;
using sluice::LeakyBucket;
using sluice::Outcome;
using sluice::Path;
using sluice::Region;
using sluice::RegionSpec;
using sluice::SlidingLog;
using sluice::SlidingWindow;
using sluice::StrictWindow;
using sluice::SystemClock;
using sluice::Table;
using sluice::TokenBucket;

namespace {

using Words = std::vector<std::uint64_t>;

constexpr std::uint64_t kWindow = 3600 * kNsPerSecond, kNow = 1000 * kWindow;
constexpr std::uint64_t kLimit = 20, kTierLimit = 40;

void fixChecksum(Words& words) {
  words.back() = sluice::dumpChecksum(std::span(words).first(words.size() - 1));
}
DumpHeader headerOf(const Words& words) {
  DumpHeader header;
  std::memcpy(static_cast<void*>(&header), words.data(), sizeof header);
  return header;
}

template <class Algorithm>
std::unique_ptr<Table<Algorithm>> makeTable(std::uint64_t maxKeys, bool userClock = true) {
  sluice::Escalation escalation;
  escalation.steps = 2;
  escalation.blockMs = {1000, 60'000};
  escalation.forgetMs = 3'600'000;
  RegionSpec spec = check::regionOfLimit<Algorithm>(7, inWindow(kLimit, kWindow), kTierLimit, escalation);
  spec.maxKeys = maxKeys;
  spec.time = {userClock ? std::uint64_t{1} : 0, 17, -123'456, 5000};
  auto table = Table<Algorithm>::attach(Region::allocate(spec));
  CHECK(table != nullptr);
  CHECK_EQ(table->addPolicy(inWindow(kTierLimit, kWindow)).index, 1);
  CHECK_EQ(table->addPolicy(inWindow(3, kWindow)).index, 2);
  CHECK_EQ(table->setBasePolicy(inWindow(kLimit + 1, kWindow)).index, 3);
  return table;
}

// As the addon makes it; nothing if its numbers make no sense.
template <class Algorithm>
std::unique_ptr<Table<Algorithm>> restore(const Words& words) {
  const auto header = checkDump(words);
  if (!header || header->algorithm != Algorithm::kId) return nullptr;
  const auto book = Algorithm::Book::make(header->book);
  if (!book || sluice::wordsPerSlot<Algorithm>(*book) != header->wordsPerSlot) return nullptr;
  auto table = Table<Algorithm>::attach(Region::allocate(sluice::specOf(*header, 99)));
  if (!table || !Dump<Algorithm>::fill(*table, *header, words)) return nullptr;
  return table;
}

bool sameAnswer(const Decision& a, const Decision& b) {
  return CHECK_EQ(a.outcome, b.outcome) && CHECK_EQ(a.remaining, b.remaining) &&
         CHECK_EQ(a.retryAfterNs, b.retryAfterNs) && CHECK_EQ(a.resetAfterNs, b.resetAfterNs) &&
         CHECK_EQ(a.delayNs, b.delayNs);
}

// All verbs on any of these keys, in any tier.
template <class Algorithm>
std::uint64_t doAnything(Table<Algorithm>& table, Random& random, const Path& path, std::uint64_t nowNs) {
  const auto policy = static_cast<std::uint32_t>(random.below(4));
  const sluice::Request<Algorithm> request{table, path, policy, nowNs};
  const std::uint64_t tokens = random.below(8), timeNs = random.below(2 * kWindow);
  switch (random.below(10)) {
    case 0:
      return sluice::block(request, nowNs + timeNs);
    case 1:
      return sluice::penalize(request, tokens, tokens);
    case 2:
      return sluice::refund(request, tokens, timeNs);
    case 3:
      return sluice::reset(request) == true;
    default:
      return sluice::consume(request, tokens).remaining;
  }
}

// Both tables know the same of these keys, and go on alike.
template <class Algorithm>
bool areAlike(Table<Algorithm>& one, Table<Algorithm>& other, const std::vector<Path>& paths,
              std::uint64_t nowNs) {
  for (const Path& path : paths) {
    for (const std::uint64_t atNs : {nowNs, nowNs + kWindow / 3}) {
      for (std::uint32_t policy = 0; policy < 4; ++policy) {
        if (!sameAnswer(sluice::peek(sluice::Request<Algorithm>{one, path, policy, atNs}),
                        sluice::peek(sluice::Request<Algorithm>{other, path, policy, atNs})))
          return false;
      }
    }
  }
  Random random(11), alike(11);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    nowNs += kWindow / 2000;
    if (!CHECK_EQ(doAnything(one, random, paths[i], nowNs), doAnything(other, alike, paths[i], nowNs)))
      return false;
  }
  return CHECK(one.consistent() && other.consistent());
}

template <class Algorithm>
void comesBack(std::uint64_t maxKeys, const std::vector<Path>& paths, Table<Algorithm>& table) {
  Random random(check::seeded("dump", maxKeys + Algorithm::kId));
  std::uint64_t nowNs = kNow;
  for (std::size_t i = 0; i < 3 * paths.size(); ++i) {
    nowNs += random.below(2 * kWindow / paths.size());
    doAnything(table, random, paths[random.below(paths.size())], nowNs);
  }
  const auto words = Dump<Algorithm>::of(table, nowNs);
  if (!CHECK(words.has_value())) return;
  const auto restored = restore<Algorithm>(*words);
  if (!CHECK(restored != nullptr)) return;
  const DumpHeader header = headerOf(*words);
  CHECK(restored->consistent());
  CHECK_EQ(restored->stats().occupied, header.entries);
  CHECK(header.entries > 0 && header.entries <= table.stats().occupied);
  CHECK_EQ(restored->basePolicy(), 3);
  CHECK_EQ(restored->region()->policies().size(), 4);
  for (std::uint32_t i = 0; i < 4; ++i) CHECK(restored->book().specAt(i) == table.book().specAt(i));
  CHECK(restored->escalation() == table.escalation());
  CHECK(restored->region()->header().seed == table.region()->header().seed);
  CHECK(restored->region()->header().id != table.region()->header().id);
  CHECK_EQ(restored->region()->header().maxKeys, maxKeys);
  CHECK_EQ(Dump<Algorithm>::of(*restored, nowNs)->size(), words->size());
  // What is over is not carried over.
  CHECK_EQ(headerOf(*Dump<Algorithm>::of(table, nowNs + 20 * kWindow)).entries, 0);
  CHECK(areAlike(table, *restored, paths, nowNs));
}

template <class Algorithm>
void thousandsComeBack() {
  constexpr std::uint64_t kMaxKeys = 3000;
  const auto table = makeTable<Algorithm>(kMaxKeys);
  CHECK(table->geometry().stripes > 1);
  std::vector<Path> paths;
  for (std::uint64_t i = 0; i < kMaxKeys; ++i) paths.push_back(numberedKey(*table, i));
  comesBack(kMaxKeys, paths, *table);
}

// Many want the same line, and more than there is room for.
template <class Algorithm>
void fullStripesComeBack() {
  const auto table = makeTable<Algorithm>(40);
  std::vector<Path> paths;
  for (std::uint64_t i = 0; i < 90; ++i) paths.push_back(craftedKey(i < 60 ? 0 : 3, i));
  comesBack(40, paths, *table);
}

template <class Algorithm>
Words smallDump(std::uint64_t keys = 30) {
  const auto table = makeTable<Algorithm>(40);
  Random random(5);
  for (std::uint64_t i = 0; i < 4 * keys; ++i) doAnything(*table, random, craftedKey(i % 16, i % keys), kNow);
  return *Dump<Algorithm>::of(*table, kNow);
}

// One that passes for whole but says anything: it is refused, or works without harm.
template <class Algorithm>
void anyNumbersDoNoHarm(std::uint64_t seed) {
  Random random = check::seeded("any dump", seed);
  const Words whole = smallDump<Algorithm>();
  int refused = 0, worked = 0;
  for (int i = 0; i < check::scaled(4000); ++i) {
    Words words = whole;
    for (std::uint64_t j = random.between(1, 4); j > 0; --j) {
      std::uint64_t& word = words[random.below(random.oneIn(2) ? DumpHeader::kWords : words.size())];
      if (random.oneIn(3)) word ^= std::uint64_t{1} << random.below(64);
      if (random.oneIn(3)) word = random.magnitude(~std::uint64_t{0});
      if (random.oneIn(3)) word += random.below(5) - 2;
    }
    if (random.oneIn(10)) words.resize(random.between(1, words.size()));
    fixChecksum(words);
    // A table of any size can be asked for; memory is not what is tried here.
    if (const auto header = checkDump(words); header && header->maxKeys > 100'000) continue;
    const auto table = restore<Algorithm>(words);
    ++(table == nullptr ? refused : worked);
    if (table == nullptr) continue;
    for (int j = 0; j < 50; ++j) {
      const std::uint64_t nowNs = random.oneIn(4) ? random.next() : kNow;
      doAnything(*table, random, craftedKey(static_cast<std::uint32_t>(random.below(16)), random.below(40)),
                 nowNs);
    }
    CHECK(Dump<Algorithm>::of(*table, kNow).has_value());
  }
  check::note("refused", refused, "worked", worked);
  CHECK(refused > 100 / SLUICE_TEST_SLOWDOWN && worked > 100 / SLUICE_TEST_SLOWDOWN);
}

}  // namespace

TEST(thousands_of_keys_come_back) {
  thousandsComeBack<TokenBucket>();
  thousandsComeBack<FixedWindow>();
  thousandsComeBack<SlidingWindow>();
  thousandsComeBack<SlidingLog>();
  thousandsComeBack<StrictWindow>();
  thousandsComeBack<LeakyBucket>();
  thousandsComeBack<Concurrency>();
}

TEST(full_stripes_come_back) {
  fullStripesComeBack<TokenBucket>();
  fullStripesComeBack<FixedWindow>();
  fullStripesComeBack<SlidingWindow>();
  fullStripesComeBack<SlidingLog>();
  fullStripesComeBack<StrictWindow>();
  fullStripesComeBack<LeakyBucket>();
  fullStripesComeBack<Concurrency>();
}

TEST(tickets_of_before_are_good_and_new_keys_get_new_ones) {
  const auto table = makeTable<Concurrency>(40);
  const auto acquire = [](Table<Concurrency>& in, std::uint64_t key) {
    const sluice::Request<Concurrency> request{in, craftedKey(0, key), 1, kNow};
    return Concurrency::ticketOf(sluice::charge(request, 2).applied.entry);
  };
  const auto release = [](Table<Concurrency>& in, std::uint64_t key, const Concurrency::Ticket& ticket) {
    return sluice::release(sluice::Request<Concurrency>{in, craftedKey(0, key), 1, kNow}, 2, ticket);
  };
  std::vector<Concurrency::Ticket> tickets;
  for (std::uint64_t key = 0; key < 10; ++key) tickets.push_back(acquire(*table, key));
  const auto restored = restore<Concurrency>(*Dump<Concurrency>::of(*table, kNow));
  if (!CHECK(restored != nullptr)) return;
  for (std::uint64_t key = 0; key < 5; ++key) CHECK_EQ(release(*restored, key, tickets[key]), 2);
  for (std::uint64_t key = 5; key < 10; ++key) {
    restored->erase(craftedKey(0, key), kNow);
    const auto again = acquire(*restored, key);
    for (const auto& ticket : tickets) CHECK(again.nonce != ticket.nonce);
    CHECK_EQ(release(*restored, key, tickets[key]), 0);
    CHECK_EQ(release(*restored, key, again), 2);
  }
}

TEST(users_clocks_go_on_where_they_stood) {
  const auto table = makeTable<TokenBucket>(40);
  const auto header = checkDump(*Dump<TokenBucket>::of(*table, kNow));
  const auto time = sluice::specOf(*header, 1).time;
  CHECK_EQ(time.userClock, 1);
  CHECK_EQ(time.originUs, -123'456);
  CHECK_EQ(time.phaseNs, 5000);
}

// As much later as the calendar says, however the monotonic clock stands now.
TEST(the_machines_time_goes_on_by_the_calendar) {
  const auto table = makeTable<TokenBucket>(40, false);
  auto header = *checkDump(*Dump<TokenBucket>::of(*table, kNow));
  const std::uint64_t dumpedNs = header.epochNs;
  // What time it is in the restored table, between two readings of the clocks.
  const auto isAt = [&](std::uint64_t passedNs) {
    const std::uint64_t beforeNs = SystemClock::epochNs();
    const auto spec = sluice::specOf(header, 1);
    const std::uint64_t tableNs = SystemClock::exactNs() - spec.time.originNs;
    const std::uint64_t tookNs = SystemClock::epochNs() - dumpedNs;
    CHECK_EQ(spec.time.userClock, 0);
    return CHECK(beforeNs >= dumpedNs) && CHECK(tableNs >= kNow + passedNs) &&
           CHECK(tableNs <= kNow + passedNs + tookNs + kNsPerSecond);
  };
  CHECK(isAt(0));
  for (const std::uint64_t passedNs : {kNsPerSecond, kWindow, 1000 * kWindow}) {
    header.epochNs = dumpedNs - passedNs;
    CHECK(isAt(passedNs));
  }
  // The calendar was set back: the time between is lost, and nothing else.
  header.epochNs = dumpedNs + 1000 * kWindow;
  CHECK(isAt(0));
  header.epochNs = 0;
  header.nowNs = kHorizonNs;
  CHECK(SystemClock::exactNs() - sluice::specOf(header, 1).time.originNs <= kHorizonNs + kNsPerSecond);
}

TEST(what_is_not_whole_is_refused) {
  const Words whole = smallDump<StrictWindow>();
  CHECK(checkDump(whole).has_value());
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK(!checkDump(std::span(whole).first(size)).has_value());
  Words words = whole;
  words.push_back(0);
  CHECK(!checkDump(words).has_value());
  fixChecksum(words);
  CHECK(!checkDump(words).has_value());
  Random random = check::seeded("dump bits", 1);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    words = whole;
    words[i] ^= std::uint64_t{1} << random.below(64);
    CHECK(!checkDump(words).has_value());
    words[i] = random.next();
    CHECK(!checkDump(words).has_value());
  }
}

TEST(headers_that_make_no_sense_are_refused) {
  const Words whole = smallDump<TokenBucket>();
  const std::vector<void (*)(DumpHeader&)> changes = {
      [](DumpHeader& header) { header.magic ^= 1; },
      [](DumpHeader& header) { header.version = 99; },
      [](DumpHeader& header) { header.maxKeys = 0; },
      [](DumpHeader& header) { header.maxKeys = ~std::uint64_t{0}; },
      [](DumpHeader& header) { header.wordsPerSlot = 65; },
      [](DumpHeader& header) { header.escalation.steps = 9; },
      [](DumpHeader& header) { header.policies = 0; },
      [](DumpHeader& header) { header.policies = 1025; },
      [](DumpHeader& header) { header.base = header.policies; },
      [](DumpHeader& header) { ++header.entries; },
      [](DumpHeader& header) { --header.entries; },
      [](DumpHeader& header) { header.entries = ~std::uint64_t{0} / 3 + 1; },
      [](DumpHeader& header) { header.nowNs = kHorizonNs + 1; },
      [](DumpHeader& header) { header.time.phaseNs = kHorizonNs + 1; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Words words = whole;
    DumpHeader header = headerOf(words);
    changes[i](header);
    std::memcpy(words.data(), &header, sizeof header);
    fixChecksum(words);
    if (!CHECK(!checkDump(words).has_value())) check::note("change", i);
  }
}

TEST(any_numbers_do_no_harm) {
  anyNumbersDoNoHarm<TokenBucket>(1);
  anyNumbersDoNoHarm<FixedWindow>(2);
  anyNumbersDoNoHarm<SlidingWindow>(3);
  anyNumbersDoNoHarm<SlidingLog>(4);
  anyNumbersDoNoHarm<StrictWindow>(5);
  anyNumbersDoNoHarm<Concurrency>(6);
}

// Dumps are taken while others charge: each has at most what was admitted by then, and at least what was
// admitted before.
TEST(others_go_on_while_a_dump_is_taken) {
  const auto table = makeTable<StrictWindow>(40);
  std::atomic<std::uint64_t> admitted{0}, begun{0};
  std::atomic<unsigned> working{check::kThreads - 1};
  const auto spentIn = [](Table<StrictWindow>& in) {
    std::uint64_t spent = 0;
    for (std::uint64_t key = 0; key < 30; ++key)
      spent +=
          kTierLimit - check::TableKey<StrictWindow>(in, craftedKey(key % 16, key)).peek(kNow, 1).remaining;
    return spent;
  };
  check::race([&](unsigned thread) {
    const auto mine = Table<StrictWindow>::attach(Region::attach(table->region()));
    if (thread != 0) {
      for (std::uint64_t i = 0; i < 30 * kTierLimit; ++i) {
        ++begun;
        admitted += check::fastAllow(*mine, craftedKey(i % 30 % 16, i % 30), kNow, 1, 1);
      }
      --working;
      return;
    }
    while (working != 0) {
      const std::uint64_t least = admitted;
      const auto restored = restore<StrictWindow>(*Dump<StrictWindow>::of(*mine, kNow));
      const std::uint64_t most = begun;
      if (!CHECK(restored != nullptr) || !CHECK(restored->consistent())) continue;
      const std::uint64_t spent = spentIn(*restored);
      CHECK(spent >= least && spent <= most);
    }
  });
  CHECK_EQ(admitted.load(), 30 * kTierLimit);
  CHECK_EQ(spentIn(*restore<StrictWindow>(*Dump<StrictWindow>::of(*table, kNow))), admitted.load());
}

TEST(a_dump_knows_all_policies_that_its_entries_are_under) {
  constexpr std::uint32_t kKeys = 200;
  const auto table = makeTable<TokenBucket>(5000);
  const auto other = Table<TokenBucket>::attach(Region::attach(table->region()));
  std::atomic<bool> over = false;
  check::race(
      [&](unsigned thread) {
        if (thread == 0) {
          // Each key is charged under a policy that is newer than the last one.
          for (std::uint32_t i = 0; i < kKeys; ++i) {
            const auto added = other->addPolicy(inWindow(100 + i, kWindow));
            CHECK_EQ(sluice::allow<TokenBucket>({*other, numberedKey(*other, i), added.index, kNow}, 1),
                     Outcome::kAllowed);
          }
          over = true;
          return;
        }
        for (bool last = false; !last;) {
          last = over;
          const Words words = *Dump<TokenBucket>::of(*table, kNow);
          const DumpHeader header = headerOf(words);
          std::size_t at = DumpHeader::kWords + header.policies * DumpHeader::kPolicyWords;
          for (std::uint64_t i = 0; i < header.entries; ++i, at += DumpHeader::kPlaceWords)
            CHECK(sluice::KeyWord{words[at + 1]}.meta() < header.policies);
        }
      },
      2);
}
