// The keyed hash: what must differ does, whatever the length and alignment; what is equal agrees; places are
// uniform.
#include "core/hash.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_set>

#include "core/geometry.h"
#include "random.h"

using check::Random;
using sluice::Digest;
using sluice::HashSeed;
using sluice::KeyHasher;
using sluice::KeyKind;

namespace {

const HashSeed kSeed = check::hashSeed(7);

Digest hashOf(const KeyHasher& hasher, const std::string& key, KeyKind kind = KeyKind::kString) {
  return hasher.hash(kind, key.data(), key.size());
}

bool operator==(const Digest& a, const Digest& b) { return a.identity == b.identity && a.place == b.place; }

std::string randomBytes(Random& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.next());
  return bytes;
}

// The same function written plainly from its description: pad every chunk with zeros, multiply word by word,
// and let each chunk's hash be the head of the next.
Digest plainHash(const HashSeed& seed, KeyKind kind, const std::string& key) {
  auto multiplier = [&](std::uint64_t index) {
    return sluice::Uint128{sluice::expandSeed(seed[0], seed[1], 2 * index + 1)} << 64 |
           sluice::expandSeed(seed[0], seed[1], 2 * index);
  };
  std::uint64_t head = static_cast<std::uint64_t>(kind) << 62 ^ key.size();
  for (std::size_t start = 0; start == 0 || start < key.size(); start += 256) {
    std::string chunk = key.substr(start, 256);
    chunk.resize((chunk.size() + 7) / 8 * 8, '\0');
    sluice::Uint128 sum = multiplier(0) + multiplier(1) * head;
    for (std::size_t i = 0; i < chunk.size(); i += 8) {
      std::uint64_t word = 0;
      for (std::size_t b = 8; b-- > 0;) word = word << 8 | static_cast<unsigned char>(chunk[i + b]);
      sum += multiplier(i / 8 + 2) * word;
    }
    head = static_cast<std::uint64_t>(sum >> 64);
  }
  const std::uint64_t whitener = sluice::expandSeed(seed[2], seed[3], 0),
                      scrambler = sluice::expandSeed(seed[2], seed[3], 1) | 1;
  const sluice::Uint128 scrambled = sluice::Uint128{head ^ whitener} * scrambler;
  return {head, static_cast<std::uint64_t>(scrambled >> 64) ^ static_cast<std::uint64_t>(scrambled)};
}

// Collects digests and counts those whose fingerprint was there before.
class Fingerprints {
 public:
  bool isNew(const Digest& digest) {
    return identities_.insert(digest.identity >> sluice::kFingerprintShift).second &&
           places_.insert(digest.place).second;
  }

 private:
  std::unordered_set<std::uint64_t> identities_, places_;
};

// Pearson's statistic of how `keys` spread over buckets, as standard deviations above its mean. For a uniform
// spread it is about normal.
template <class BucketOf>
double excessOfChiSquare(std::size_t keys, std::size_t buckets, BucketOf&& bucketOf) {
  std::vector<double> counts(buckets);
  for (std::size_t i = 0; i < keys; ++i) ++counts[bucketOf(i)];
  const double expected = static_cast<double>(keys) / static_cast<double>(buckets);
  double chiSquare = 0;
  for (const double count : counts) chiSquare += (count - expected) * (count - expected) / expected;
  const double freedom = static_cast<double>(buckets - 1);
  return (chiSquare - freedom) / std::sqrt(2 * freedom);
}

}  // namespace

TEST(agrees_with_the_plain_definition_at_every_length) {
  const KeyHasher hasher(kSeed);
  Random random = check::seeded("hash lengths", 1);
  for (std::size_t size = 0; size <= 600; ++size) {
    const std::string key = randomBytes(random, size);
    for (const KeyKind kind : {KeyKind::kString, KeyKind::kInteger, KeyKind::kBytes}) {
      if (!CHECK(hashOf(hasher, key, kind) == plainHash(kSeed, kind, key))) return check::note("size", size);
    }
  }
}

TEST(agrees_with_the_plain_definition_around_chunk_boundaries) {
  const KeyHasher hasher(kSeed);
  Random random = check::seeded("hash chunks", 2);
  for (std::size_t chunks = 1; chunks <= 40; chunks += chunks < 4 ? 1 : 9) {
    for (std::size_t size = chunks * 256 - 17; size <= chunks * 256 + 17; ++size) {
      const std::string key = randomBytes(random, size);
      if (!CHECK(hashOf(hasher, key) == plainHash(kSeed, KeyKind::kString, key)))
        return check::note("size", size);
    }
  }
}

TEST(kinds_are_separate) {
  const KeyHasher hasher(kSeed);
  Random random = check::seeded("hash kinds", 3);
  Fingerprints seen;
  for (std::size_t size = 0; size <= 600; ++size) {
    const std::string key = randomBytes(random, size);
    for (const KeyKind kind : {KeyKind::kString, KeyKind::kInteger, KeyKind::kBytes}) {
      CHECK(seen.isNew(hashOf(hasher, key, kind)));
    }
  }
}

TEST(trailing_zeros_make_another_key) {
  const KeyHasher hasher(kSeed);
  Fingerprints seen;
  for (std::size_t size = 0; size <= 1100; ++size) CHECK(seen.isNew(hashOf(hasher, std::string(size, '\0'))));
  for (std::size_t size = 1; size <= 600; ++size) {
    for (std::size_t zeros = 0; zeros <= 16; ++zeros) {
      CHECK(seen.isNew(hashOf(hasher, std::string(size, 'x') + std::string(zeros, '\0'))));
    }
  }
}

TEST(prefixes_and_suffixes_are_other_keys) {
  const KeyHasher hasher(kSeed);
  Random random = check::seeded("hash prefixes", 4);
  const std::string key = randomBytes(random, 1200);
  Fingerprints seen;
  for (std::size_t size = 0; size <= key.size(); ++size)
    CHECK(seen.isNew(hashOf(hasher, key.substr(0, size))));
  for (std::size_t start = 1; start < key.size(); ++start)
    CHECK(seen.isNew(hashOf(hasher, key.substr(start))));
}

TEST(chunks_in_another_order_make_another_key) {
  const KeyHasher hasher(kSeed);
  const std::string a(256, 'a'), b(256, 'b');
  Fingerprints seen;
  for (const std::string& key : {a + b, b + a, a + a, b + b, a + a + b, a + b + a, b + a + a}) {
    CHECK(seen.isNew(hashOf(hasher, key)));
  }
}

// Over the secrets, as for one secret the hash is linear in the key: half of the digest flips with any bit of
// the key.
TEST(every_bit_of_the_key_counts) {
  Random random = check::seeded("hash avalanche", 5);
  const int flips = check::scaled(40'000);
  double identityBits = 0, placeBits = 0;
  for (int i = 0; i < flips; ++i) {
    const KeyHasher hasher(check::hashSeed(random.next()));
    std::string key = randomBytes(random, random.between(1, 520));
    const Digest before = hashOf(hasher, key);
    char& byte = key[random.below(key.size())];
    byte = static_cast<char>(byte ^ 1 << random.below(8));
    const Digest after = hashOf(hasher, key);
    CHECK(before.identity != after.identity && before.place != after.place);
    identityBits += std::popcount(before.identity ^ after.identity);
    placeBits += std::popcount(before.place ^ after.place);
  }
  const double slack = 6 * 4 / std::sqrt(flips);  // six standard deviations
  CHECK(std::abs(identityBits / flips - 32) < slack && std::abs(placeBits / flips - 32) < slack);
}

TEST(seeds_make_other_hashes) {
  Fingerprints seen;
  CHECK(seen.isNew(hashOf(KeyHasher(kSeed), "client")));
  std::unordered_set<std::uint64_t> places;
  for (std::size_t word = 0; word < kSeed.size(); ++word) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      HashSeed seed = kSeed;
      seed[word] ^= std::uint64_t{1} << bit;
      const Digest digest = hashOf(KeyHasher(seed), "client");
      CHECK(places.insert(digest.place).second);
      if (word < 2) CHECK(seen.isNew(digest));  // the other two words only say where keys live
    }
  }
  CHECK(hashOf(KeyHasher(kSeed), "client") == hashOf(KeyHasher(kSeed), "client"));
}

TEST(alignment_does_not_matter) {
  const KeyHasher hasher(kSeed);
  Random random = check::seeded("hash alignment", 6);
  for (std::size_t size = 0; size <= 300; ++size) {
    const std::string key = randomBytes(random, size);
    const Digest expected = hashOf(hasher, key);
    for (std::size_t offset = 1; offset < 8; ++offset) {
      const std::string shifted = std::string(offset, '#') + key + "#";
      const Digest digest = hasher.hash(KeyKind::kString, shifted.data() + offset, size);
      if (!CHECK(digest == expected)) return check::note("size, offset:", size, offset);
    }
  }
}

// AddressSanitizer stops at the first byte read outside these buffers, which are exactly as long as the key.
TEST(reads_nothing_outside_the_key) {
  const KeyHasher hasher(kSeed);
  for (std::size_t size = 0; size <= 600; ++size) {
    const std::unique_ptr<char[]> key(new char[size]());
    CHECK(hasher.hash(KeyKind::kBytes, key.get(), size) ==
          hashOf(hasher, std::string(size, '\0'), KeyKind::kBytes));
  }
  CHECK(hasher.hash(KeyKind::kBytes, nullptr, 0) == hashOf(hasher, "", KeyKind::kBytes));
}

TEST(realistic_keys_spread_evenly) {
  constexpr std::size_t kKeys = 20'000;
  const sluice::Geometry geometry = sluice::Geometry::forKeys(kKeys);
  const std::size_t lines = std::size_t{geometry.stripes} * geometry.linesPerStripe;
  double worst = 0;
  for (std::uint64_t seed = 1; seed <= static_cast<std::uint64_t>(check::scaled(60)); ++seed) {
    const KeyHasher hasher(check::hashSeed(seed));
    auto excess = [&](auto&& digestOf) {
      return excessOfChiSquare(kKeys, lines, [&](std::size_t i) {
        const sluice::Path path = geometry.pathOf(digestOf(i));
        return std::size_t{path.stripe} * geometry.linesPerStripe + path.home;
      });
    };
    auto integer = [&](std::size_t i) { return hasher.hash(KeyKind::kInteger, &i, 8); };
    auto multiple = [&](std::size_t i) { return integer(i << 20); };
    auto address = [&](std::size_t i) {
      return hashOf(hasher, "10.0." + std::to_string(i / 256) + '.' + std::to_string(i % 256));
    };
    auto prefixed = [&](std::size_t i) { return hashOf(hasher, std::string(300, 'p') + std::to_string(i)); };
    worst = std::max({worst, excess(integer), excess(multiple), excess(address), excess(prefixed)});
  }
  CHECK(worst < 6);  // standard deviations
  check::note("hash spread: worst of all seeds and kinds of keys, in standard deviations", worst);
}

TEST(fingerprints_and_steps_spread_evenly) {
  constexpr std::size_t kKeys = 200'000;
  const KeyHasher hasher(kSeed);
  auto identity = [&](std::size_t i) { return hasher.hash(KeyKind::kInteger, &i, 8).identity; };
  for (const unsigned shift : {20U, 21U, 30U, 40U, 48U, 56U}) {
    CHECK(excessOfChiSquare(kKeys, 256, [&](std::size_t i) { return identity(i) >> shift & 255; }) < 5);
  }
}

TEST(paths_stay_in_the_table_and_visit_each_line_once) {
  Random random = check::seeded("hash paths", 8);
  for (const std::uint64_t maxKeys :
       {1ULL, 45ULL, 46ULL, 100ULL, 731ULL, 732ULL, 5000ULL, 1'000'000ULL, 1ULL << 31}) {
    const sluice::Geometry geometry = sluice::Geometry::forKeys(maxKeys);
    CHECK(geometry.slots() * 10 >= maxKeys * sluice::Geometry::kSlotsPerTenKeys);
    for (int i = 0; i < 2000; ++i) {
      const sluice::Path path =
          geometry.pathOf({random.oneIn(10) ? random.below(1 << 21) : random.next(), random.next()});
      CHECK(path.stripe < geometry.stripes && path.home < geometry.linesPerStripe && path.fingerprint != 0);
      CHECK(path.step % 2 == 1 && path.fingerprint >> sluice::kFingerprintBits == 0);
      std::unordered_set<std::uint32_t> lines;
      for (std::uint32_t d = 0; d < sluice::Geometry::kPathLines; ++d) lines.insert(geometry.lineAt(path, d));
      if (!CHECK_EQ(lines.size(), sluice::Geometry::kPathLines)) return check::note("maxKeys", maxKeys);
    }
  }
}
