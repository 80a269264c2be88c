// Sliding log: the time of every token spent, so that exactly `limit` count in any window. Exact, and as wide
// as the limit: a word for each token, so limits end at 64; a strict window (strict_window.h) has no such
// end.
//
// The words hold times in ns, plus 1 so that 0 is none, ascending, unused ones last; only as many words are
// used as the table's greatest limit needs. A token counts as long as it is younger than a window. All
// policies of a table share the window, and with it the log; they differ in the limit.
#pragma once

#include "core/wide_counter.h"

namespace sluice {

class SlidingLogBook : public PolicyBook<SlidingLogBook, WidePolicy> {
 public:
  static constexpr std::uint64_t kMaxLimit = 64;

  // Nothing if the window exceeds 146 years, or the limit 64.
  static std::optional<SlidingLogBook> make(const BookOptions& options) {
    if (options.windowNs == 0 || options.windowNs > kHorizonNs) return std::nullopt;
    if (options.maxLimit == 0 || options.maxLimit > kMaxLimit) return std::nullopt;
    SlidingLogBook book;
    book.options_ = options;
    return book;
  }

  BookOptions options() const { return options_; }
  std::optional<WidePolicy> policyFrom(const PolicySpec& spec) const {
    if (spec.limit == 0 || spec.limit > maxCount()) return std::nullopt;
    return WidePolicy{spec.limit};
  }
  // The greatest limit this table has room for.
  std::uint64_t maxCount() const { return options_.maxLimit; }
  // How many words an entry has.
  std::size_t words() const { return static_cast<std::size_t>(options_.maxLimit); }
  std::uint64_t windowNs() const { return options_.windowNs; }

 private:
  BookOptions options_{1, 1, 0};
};

// The tokens of an entry that count now; see WideCounter.
class SlidingLogTimes {
 public:
  using Entry = WideEntry<SlidingLogBook::kMaxLimit>;
  using Book = SlidingLogBook;
  static constexpr std::uint64_t kMost = SlidingLogBook::kMaxLimit;

  SlidingLogTimes(const Book& book, const Entry& entry, std::uint64_t nowNs)
      : present_(std::min(nowNs, kHorizonNs) + 1) {
    // The last mark that counts no more; 0, which is none, never does.
    const std::uint64_t over = saturatingSub(present_, book.windowNs());
    std::uint64_t newest = 0;
    bool ascending = true;
    for (std::size_t i = 0; i < book.words(); ++i) {
      const std::uint64_t mark = entry.words[i];
      const bool counts = mark > over;
      ascending &= !counts | (mark >= newest);
      newest = counts ? mark : newest;
      marks_[count_] = mark;
      count_ += counts;
    }
    if (!ascending || newest > present_ + kClockToleranceNs) [[unlikely]]
      mend();
  }

  bool healed() const { return healed_; }
  std::uint64_t total() const { return count_; }

  void add(std::uint64_t tokens) {
    const std::uint64_t mark = count_ == 0 ? present_ : std::max(present_, marks_[count_ - 1]);
    std::fill_n(marks_ + count_, static_cast<std::size_t>(tokens), mark);
    count_ += static_cast<std::size_t>(tokens);
  }

  // The newest of those that are as old. What was charged just now may be the newest of all: it is noted no
  // earlier than what was there.
  std::uint64_t remove(const Book&, std::uint64_t tokens, std::uint64_t ageNs) {
    const std::uint64_t* end = marks_ + count_;
    if (ageNs != 0) end = std::upper_bound(marks_, marks_ + count_, saturatingSub(present_, ageNs));
    const auto asOld = static_cast<std::size_t>(end - marks_);
    const auto removed = static_cast<std::size_t>(std::min<std::uint64_t>(tokens, asOld));
    std::copy(marks_ + asOld, marks_ + count_, marks_ + asOld - removed);
    count_ -= removed;
    return removed;
  }

  std::uint64_t lessAtNs(const Book& book, std::uint64_t tokens) const {
    return marks_[static_cast<std::size_t>(tokens) - 1] - 1 + book.windowNs();
  }

  void store(const Book&, Entry& next) const { std::copy_n(marks_, count_, next.words.begin()); }

 private:
  void mend() {
    for (std::size_t i = 0; i < count_; ++i) {
      if (marks_[i] <= present_ + kClockToleranceNs) continue;
      marks_[i] = present_;
      healed_ = true;
    }
    std::sort(marks_, marks_ + count_);
  }

  std::uint64_t present_;  // as a mark: a time in ns, plus 1
  std::size_t count_ = 0;
  bool healed_ = false;
  std::uint64_t marks_[kMost];  // ascending; the first `count_`
};

class SlidingLog : public WideCounter<SlidingLogTimes, false> {
 public:
  static constexpr std::uint64_t kId = 4;

  // Nothing can be decided from the payload alone, nor at a time that is not known exactly.
  struct Frame {};
  static Frame frame(const Book&, std::uint32_t, std::uint64_t, std::uint64_t) { return {}; }
  static Verdict chargeWithin(const Frame&, const sluice::Entry&, std::uint64_t) { return {}; }
  static Verdict admitAt(const Frame&, const sluice::Entry&, std::uint64_t, std::uint64_t*) { return {}; }
};

}  // namespace sluice
