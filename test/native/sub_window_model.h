// Sub-windows by their definition: a list of what was spent and when, each item counting in the twelfth of a
// window in which it was spent and in the twelve that follow. Exact, in 128 bits.
#pragma once

#include <algorithm>
#include <vector>

#include "core/units.h"

namespace check {

class SubWindowModel {
 public:
  explicit SubWindowModel(std::uint64_t windowNs) : windowNs_(windowNs) {}

  // The twelfth that holds `ns`, and the first ns in a twelfth.
  std::uint64_t indexAt(std::uint64_t ns) const {
    return static_cast<std::uint64_t>(sluice::Uint128{ns} * 12 / windowNs_);
  }
  std::uint64_t startOf(std::uint64_t index) const {
    return static_cast<std::uint64_t>((sluice::Uint128{index} * windowNs_ + 11) / 12);
  }

  // Times never go back.
  void spend(std::uint64_t nowNs, std::uint64_t tokens) {
    forgetBefore(nowNs);
    if (tokens != 0) items_.push_back({indexAt(nowNs), tokens});
  }
  std::uint64_t counted(std::uint64_t nowNs) const {
    std::uint64_t sum = 0;
    for (const Item& item : items_) sum += counts(item, nowNs) ? item.tokens : 0;
    return sum;
  }
  // The first time, from now on, at which at most `most` tokens count.
  std::uint64_t atMostFrom(std::uint64_t nowNs, std::uint64_t most) const {
    std::uint64_t atNs = nowNs;
    for (const Item& item : items_) {  // ascending: in the order in which they stop counting
      if (counted(atNs) <= most) break;
      atNs = std::max(nowNs, startOf(item.index + 13));
    }
    return atNs;
  }
  // Gives back from what was spent in the twelfth that holds `chargedNs`.
  std::uint64_t refund(std::uint64_t nowNs, std::uint64_t chargedNs, std::uint64_t tokens) {
    const std::uint64_t asked = tokens;
    for (Item& item : items_) {
      if (item.index != indexAt(chargedNs) || !counts(item, nowNs)) continue;
      const std::uint64_t given = std::min(tokens, item.tokens);
      item.tokens -= given;
      tokens -= given;
    }
    return asked - tokens;
  }

 private:
  struct Item {
    std::uint64_t index, tokens;
  };
  bool counts(const Item& item, std::uint64_t nowNs) const { return indexAt(nowNs) <= item.index + 12; }
  void forgetBefore(std::uint64_t nowNs) {
    std::erase_if(items_, [&](const Item& item) { return !counts(item, nowNs) || item.tokens == 0; });
  }

  std::uint64_t windowNs_;
  std::vector<Item> items_;
};

}  // namespace check
