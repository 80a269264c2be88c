// Regions whose header is right and whose content is anything: everything ends, and nothing outside the
// region is touched (which AddressSanitizer sees).
#include "region_files.h"
#include "shared_tables.h"

using check::kDay;
using check::kNow;
using check::Random;
using check::RegionFile;
using check::RegionName;
using check::smallRegion;
using check::smallTable;
using sluice::Concurrency;
using sluice::FixedWindow;
using sluice::Layout;
using sluice::LeakyBucket;
using sluice::Member;
using sluice::PolicyList;
using sluice::Region;
using sluice::SlidingLog;
using sluice::SlidingWindow;
using sluice::StrictWindow;
using sluice::Stripe;
using sluice::Table;
using sluice::TokenBucket;

namespace {

// Ends the program if something here does not: nothing takes a thousandth of it.
constexpr unsigned kEndlessSeconds = 240;

// How bits go bad: all of them, a few, or whole pages of one pattern.
std::vector<std::uint64_t> spoilt(std::vector<std::uint64_t> words, Random& random) {
  const std::size_t first = Layout::kPolicies / 8;
  const std::uint64_t kind = random.below(5);
  const std::uint64_t pattern = kind == 3 ? ~std::uint64_t{0} : kind == 4 ? random.next() : 0;
  for (std::size_t i = first; i < words.size(); ++i) {
    if (kind == 0) words[i] = random.next();
    if (kind == 1 && random.oneIn(50)) words[i] ^= std::uint64_t{1} << random.below(64);
    if (kind == 2) words[i] = random.magnitude(~std::uint64_t{0});
    if (kind >= 3 && (i / 512) % 2 == random.below(2)) words[i] = pattern;
  }
  return words;
}

// A lock that seems to be held by somebody who lives is waited for, as it should be. Those that are not
// looked at here belong to nobody.
template <class Algorithm>
void freeLocksOfTheLiving(const Table<Algorithm>& table) {
  const auto free = [&](void* lock) {
    auto& holder = *static_cast<std::atomic<std::uint64_t>*>(lock);
    if (!table.member().isGone(holder.load() & ~Member::kLeft)) holder = 0;
  };
  free(&table.region()->policies());  // its lock comes first
  for (std::uint32_t i = 0; i < table.geometry().stripes; ++i) free(&table.region()->stripes()[i].lock);
}

template <class Algorithm>
void doEverything(Table<Algorithm>& table, Random& random) {
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t number = random.below(100), nowNs = random.oneIn(4) ? random.next() : kNow;
    const bool crafted = random.oneIn(2);
    check::TableKey<Algorithm> key(
        table, crafted ? check::craftedKey(static_cast<std::uint32_t>(number % 16), number)
                       : check::numberedKey(table, number));
    const auto policy =
        static_cast<std::uint32_t>(random.oneIn(2) ? table.basePolicy() : random.below(PolicyList::kMax));
    switch (random.below(8)) {
      case 0:
        key.block(nowNs, nowNs + random.below(kDay), policy);
        break;
      case 1:
        key.penalize(nowNs, random.magnitude(sluice::kMaxTokens), policy);
        break;
      case 2:
        key.refund(nowNs, random.magnitude(sluice::kMaxTokens), random.magnitude(nowNs | 1), policy);
        break;
      case 3:
        key.peek(nowNs, policy);
        break;
      case 4:
        key.reset(nowNs);
        break;
      case 5:
        key.fastAllow(nowNs, 1);
        break;
      default:
        key.consume(nowNs, random.below(30), policy);
    }
  }
  table.addPolicy(check::policyOf<Algorithm>(random.between(1, 40)));
  table.setBasePolicy(check::policyOf<Algorithm>(random.between(1, 40)));
  table.count(true);
  table.stats();
}

// Somebody is attached already when the content goes bad, somebody comes in afterwards.
template <class Algorithm>
void worksOnAnything(std::uint64_t seed) {
  const RegionName name("corrupt");
  Random random(seed);
  const auto attached = smallTable<Algorithm>(name);
  doEverything(*attached, random);
  RegionFile file(name);
  file.write(spoilt(file.words(), random), Layout::kPolicies);
  freeLocksOfTheLiving(*attached);
  doEverything(*attached, random);
  const auto newcomer = check::openTable<Algorithm>(name);
  if (!CHECK(newcomer != nullptr)) return;
  freeLocksOfTheLiving(*newcomer);
  doEverything(*newcomer, random);
  doEverything(*attached, random);
}

template <class Algorithm>
void worksOnAnyOf(int regions) {
  alarm(kEndlessSeconds);
  for (int seed = 1; seed <= regions; ++seed) {
    const int failedBefore = check::failedChecks;
    worksOnAnything<Algorithm>(static_cast<std::uint64_t>(seed));
    if (check::failedChecks != failedBefore) return check::note("seed", seed);
  }
  alarm(0);
}

}  // namespace

TEST(a_token_bucket_works_on_any_content) { worksOnAnyOf<TokenBucket>(check::scaled(800)); }
TEST(a_fixed_window_works_on_any_content) { worksOnAnyOf<FixedWindow>(check::scaled(800)); }
TEST(a_leaky_bucket_works_on_any_content) { worksOnAnyOf<LeakyBucket>(check::scaled(200)); }
TEST(a_sliding_window_works_on_any_content) { worksOnAnyOf<SlidingWindow>(check::scaled(400)); }
TEST(a_sliding_log_works_on_any_content) { worksOnAnyOf<SlidingLog>(check::scaled(400)); }
TEST(a_strict_window_works_on_any_content) { worksOnAnyOf<StrictWindow>(check::scaled(400)); }
TEST(concurrency_works_on_any_content) { worksOnAnyOf<Concurrency>(check::scaled(400)); }
