// Blocks for those who go on after being refused, each longer than the one before; forgotten after good
// behaviour.
//
// How often a key has offended is recorded in an entry of its own (Geometry::companionOf, Block::isRecord),
// which lasts until the offences are forgotten. Nobody looks at it but this, and only when a call is refused,
// so calls that are admitted pay nothing for it. Where a table is full, records go first: they limit nobody.
#pragma once

#include "core/block.h"
#include "core/request.h"

namespace sluice {

template <class Algorithm>
class Escalating {
 public:
  using Entry = typename Algorithm::Entry;

  explicit Escalating(const Request<Algorithm>& request)
      : request_(request), companion_(request.table.geometry().companionOf(request.path)) {}

  // Blocks the key if a call that was refused still is. Says how that call now ends.
  template <class Charge>
  Answer<Algorithm> punish(Charge&& charge) const {
    const std::uint64_t offences = offencesUntilNow();
    bool offends = false;
    std::uint64_t untilNs = 0;
    auto answer = applyTo(request_, [&](const auto& entry, std::uint64_t nowNs) {
      const auto step = charge(entry, nowNs);
      // If another thread was faster, the key is blocked already, and this is the same offence.
      offends = step.outcome == Outcome::kLimited;
      if (!offends) return step;
      untilNs = nowNs + blockNsAfter(offences);
      return Algorithm::block(request_.table.book(), request_.policy, entry, nowNs, untilNs);
    });
    if (offends && answer.applied.step.outcome == Outcome::kBlocked) remember(offences + 1, untilNs);
    return answer;
  }

  // Forgets all offences. False if that cannot be done now (kBusy).
  bool forgive() const { return request_.table.erase(companion_, request_.nowNs).has_value(); }

 private:
  const Escalation& escalation() const { return request_.table.escalation(); }

  std::uint64_t blockNsAfter(std::uint64_t offences) const {
    const std::uint64_t step = std::min(offences, escalation().steps - 1);
    return mulDivFloor(escalation().blockMs[step], kNsPerMs, 1, kHorizonNs / 2);
  }

  static std::uint64_t offencesOf(const Entry& entry, std::uint64_t nowNs) {
    const sluice::Entry plain{entry.payload, entry.meta};
    return Block::isRecord(plain) && Block::decode(plain).active(nowNs) ? Block::offencesIn(plain) : 0;
  }

  std::uint64_t offencesUntilNow() const {
    const Request<Algorithm> request{request_.table, companion_, request_.policy, request_.nowNs};
    const auto answer = applyTo(request, [](const auto& entry, std::uint64_t) {
      BasicStep<Entry> step;
      step.next = entry;
      return step;
    });
    return offencesOf(answer.applied.entry, request_.nowNs);
  }

  // Offences beyond the last step change nothing, and are not counted.
  void remember(std::uint64_t offences, std::uint64_t blockedUntilNs) const {
    const std::uint64_t forgetNs = mulDivFloor(escalation().forgetMs, kNsPerMs, 1, kHorizonNs / 2);
    const std::uint64_t untilMs = Block::untilMsOf(std::min(blockedUntilNs + forgetNs, kHorizonNs));
    const Request<Algorithm> request{request_.table, companion_, request_.policy, request_.nowNs};
    applyTo(request, [&](const auto& entry, std::uint64_t nowNs) {
      // Another thread may have noted a later one.
      const std::uint64_t most = std::max(offences, offencesOf(entry, nowNs));
      const auto encoded = Block::recordOf(std::min(most, escalation().steps), untilMs);
      BasicStep<Entry> step;
      step.next.payload = encoded.payload;
      step.next.meta = encoded.meta;
      step.write = true;
      return step;
    });
  }

  const Request<Algorithm>& request_;
  Path companion_;
};

// `charge(Entry, nowNs) -> Step`, and what the limiter does to those who are refused.
template <class Algorithm, class Charge>
Answer<Algorithm> chargePunishing(const Request<Algorithm>& request, Charge&& charge) {
  auto answer = applyTo(request, charge);
  if (answer.applied.step.outcome == Outcome::kLimited && request.table.escalation().steps != 0) [[unlikely]]
    return Escalating<Algorithm>(request).punish(charge);
  return answer;
}

template <class Algorithm>
bool forgive(const Request<Algorithm>& request) {
  return request.table.escalation().steps == 0 || Escalating<Algorithm>(request).forgive();
}

}  // namespace sluice
