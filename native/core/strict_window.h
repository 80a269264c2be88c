// Strict window: never more than the limit in any interval of a window's length, wherever it begins, both
// ends included. The price: what was spent counts for up to 13/12 of a window (sub_window_ring.h), so that
// somebody who always takes what there is gets at least 12/13 of the limit in a window; the whole limit can
// be spent at once.
#pragma once

#include "core/sub_window_ring.h"

namespace sluice {

class StrictWindow : public SubWindowRing<true> {
 public:
  static constexpr std::uint64_t kId = 5;
};

}  // namespace sluice
