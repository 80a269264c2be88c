// All algorithms there are, by the number that a region's header knows them by.
#pragma once

#include "core/concurrency.h"
#include "core/fixed_window.h"
#include "core/leaky_bucket.h"
#include "core/purse.h"
#include "core/sliding_log.h"
#include "core/sliding_window.h"
#include "core/strict_window.h"
#include "core/token_bucket.h"

namespace sluice {

// What `visit.template operator()<Algorithm>()` returns for the algorithm of that number; `otherwise` if
// there is none.
template <class Result, class Visit>
Result withAlgorithm(std::uint64_t id, Result otherwise, Visit&& visit) {
  switch (id) {
    case TokenBucket::kId:
      return visit.template operator()<TokenBucket>();
    case FixedWindow::kId:
      return visit.template operator()<FixedWindow>();
    case SlidingWindow::kId:
      return visit.template operator()<SlidingWindow>();
    case SlidingLog::kId:
      return visit.template operator()<SlidingLog>();
    case StrictWindow::kId:
      return visit.template operator()<StrictWindow>();
    case LeakyBucket::kId:
      return visit.template operator()<LeakyBucket>();
    case Concurrency::kId:
      return visit.template operator()<Concurrency>();
    case Purse::kId:
      return visit.template operator()<Purse>();
    default:
      return otherwise;
  }
}

// The greatest limit that a table with that book can count to.
template <class Book>
std::uint64_t maxLimitOf(const Book& book) {
  if constexpr (requires { book.maxCount(); })
    return book.maxCount();
  else
    return kMaxTokens;
}

}  // namespace sluice
