// Tables and keys for tests: keys by number, or with a home line chosen by hand.
#pragma once

#include "core/operations.h"

#include "random.h"

namespace check {

template <class Algorithm>
std::unique_ptr<sluice::Table<Algorithm>> makeTable(std::uint64_t maxKeys, std::uint64_t seed,
                                                    typename Algorithm::Book book) {
  auto table = sluice::Table<Algorithm>::create(maxKeys, hashSeed(seed), std::move(book));
  CHECK(table != nullptr);
  return table;
}

template <class Algorithm>
sluice::Path numberedKey(const sluice::Table<Algorithm>& table, std::uint64_t number) {
  return table.pathOf(table.hasher().hash(sluice::KeyKind::kInteger, &number, sizeof number));
}

// A key of the first stripe whose home is line `home`. Different numbers are different keys.
inline sluice::Path craftedKey(std::uint32_t home, std::uint64_t number) {
  const std::uint64_t fingerprint =
      number * 0x9e3779b1 % ((std::uint64_t{1} << sluice::kFingerprintBits) - 1) + 1;
  return {0, home, sluice::Geometry::stepOf(fingerprint), fingerprint};
}

// A charge as the addon makes it: from a frame of time first, in full if that cannot tell.
template <class Algorithm>
bool fastAllow(sluice::Table<Algorithm>& table, const sluice::Path& path, std::uint64_t nowNs,
               std::uint64_t cost, std::uint32_t policy = 0) {
  const auto frame = Algorithm::frame(table.book(), policy, nowNs, nowNs);
  const auto verdict = table.decide(
      path, [&](const sluice::Entry& entry) { return Algorithm::chargeWithin(frame, entry, cost); });
  if (verdict != sluice::Verdict::Kind::kUnsure) return verdict == sluice::Verdict::Kind::kAdmit;
  return sluice::allow(sluice::Request<Algorithm>{table, path, policy, nowNs}, cost) ==
         sluice::Outcome::kAllowed;
}

// Applies the public verbs to one key of a table, at a time given each time.
template <class Algorithm>
class TableKey {
 public:
  TableKey(sluice::Table<Algorithm>& table, const sluice::Path& path) : table_(table), path_(path) {}

  bool fastAllow(std::uint64_t nowNs, std::uint64_t cost) {
    return check::fastAllow(table_, path_, nowNs, cost);
  }
  sluice::Outcome allow(std::uint64_t nowNs, std::uint64_t cost, std::uint32_t policy = 0) {
    return sluice::allow(request(nowNs, policy), cost);
  }
  sluice::Decision consume(std::uint64_t nowNs, std::uint64_t cost, std::uint32_t policy = 0) {
    return sluice::consume(request(nowNs, policy), cost);
  }
  sluice::Decision peek(std::uint64_t nowNs, std::uint32_t policy = 0) {
    return sluice::peek(request(nowNs, policy));
  }
  std::uint64_t refund(std::uint64_t nowNs, std::uint64_t tokens, std::uint64_t ageNs = 0,
                       std::uint32_t policy = 0) {
    return sluice::refund(request(nowNs, policy), tokens, ageNs);
  }
  std::uint64_t penalize(std::uint64_t nowNs, std::uint64_t tokens, std::uint32_t policy = 0) {
    return sluice::penalize(request(nowNs, policy), tokens);
  }
  bool block(std::uint64_t nowNs, std::uint64_t untilNs, std::uint32_t policy = 0) {
    return sluice::block(request(nowNs, policy), untilNs);
  }
  bool reset(std::uint64_t nowNs) { return sluice::reset(request(nowNs, 0)).value_or(false); }

 private:
  sluice::Request<Algorithm> request(std::uint64_t nowNs, std::uint32_t policy) const {
    return {table_, path_, policy, nowNs};
  }

  sluice::Table<Algorithm>& table_;
  sluice::Path path_;
};

}  // namespace check
