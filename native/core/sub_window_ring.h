// Counts per sub-window: a window is cut into twelve, numbered from the table's origin, and a token counts in
// its own sub-window and the twelve that follow. So all that was spent in any interval of a window's length,
// both ends included, counts together; and it counts for at most 13/12 of a window.
//
//   word 0       the newest sub-window's number
//   words 1..7   13 counts of 32 bits by age, the newest first, and a nonce of 32 bits (concurrency.h)
//   payload      the lower 28 bits of that number | what counts in all, 32; unless a block has it
//   meta         the next 11 bits of that number
//
// As long as a sub-window lasts, a charge changes only what counts in all; so it is one atomic change of the
// payload, without the lock, and the words' newest count is made good when the lock is taken next. (The
// number's 39 bits come around again after 2^39 sub-windows. A key left alone for exactly that long is taken
// for one just used.)
//
// All policies of a table share the window, and with it the counts; they differ in the limit. Who comes with
// a time before the newest sub-window counts in that.
#pragma once

#include <array>
#include <bit>

#include "core/time_scale.h"
#include "core/wide_counter.h"

namespace sluice {

inline constexpr unsigned kSubWindows = 12;

class SubWindowBook : public PolicyBook<SubWindowBook, WidePolicy> {
 public:
  static constexpr std::uint64_t kMaxLimit = std::uint64_t{1} << 31;

  // Nothing if the window is shorter than 12 ns or longer than 146 years, or the limit exceeds 2^31.
  static std::optional<SubWindowBook> make(const BookOptions& options) {
    if (options.windowNs < kSubWindows || options.windowNs > kHorizonNs) return std::nullopt;
    if (options.maxLimit == 0 || options.maxLimit > kMaxLimit) return std::nullopt;
    SubWindowBook book;
    book.options_ = options;
    book.scale_ = TimeScale(kSubWindows, options.windowNs);
    book.tolerance_ = book.scale_.at(kClockToleranceNs) + 1;
    return book;
  }

  BookOptions options() const { return options_; }
  std::optional<WidePolicy> policyFrom(const PolicySpec& spec) const {
    if (spec.limit == 0 || spec.limit > maxCount()) return std::nullopt;
    return WidePolicy{spec.limit};
  }
  // The greatest limit this table can count to.
  std::uint64_t maxCount() const { return kMaxLimit; }
  // How many words an entry has.
  std::size_t words() const { return 8; }

  const TimeScale& scale() const { return scale_; }       // to sub-windows
  std::uint64_t tolerance() const { return tolerance_; }  // kClockToleranceNs, in sub-windows

 private:
  BookOptions options_;
  TimeScale scale_;
  std::uint64_t tolerance_ = 0;
};

// The counts of an entry as of now; see WideCounter.
class SubWindowCounts {
 public:
  using Entry = WideEntry<8>;
  using Book = SubWindowBook;
  static constexpr unsigned kTotalBits = 32;
  static constexpr std::uint64_t kTotalMask = (std::uint64_t{1} << kTotalBits) - 1;
  // One less than fits, so that no entry looks like a claimed slot.
  static constexpr std::uint64_t kMost = kTotalMask - 1;

  SubWindowCounts(const Book& book, const Entry& entry, std::uint64_t nowNs)
      : nowNs_(nowNs), stored_(entry.words[0]), halves_(halvesOf(entry)), nonce_(halves_[kNonceAt]) {
    if ((entry.meta & kBlockedFlag) == 0) {
      const std::uint64_t older = total() - halves_[0];
      halves_[0] = static_cast<std::uint32_t>(saturatingSub(entry.payload & kTotalMask, older));
    }
    const std::uint64_t present = book.scale().at(nowNs);
    newest_ = std::max(stored_, present);
    if (stored_ < present) {
      shiftBy(present - stored_);
      stored_ = present;
    } else if (stored_ > present + book.tolerance()) {
      newest_ = present;
      // Other sub-windows go by the same numbers now.
      halves_[kNonceAt] = nonce_ * 0x9e3779b1U + 1;
      healed_ = true;
    }
  }

  bool healed() const { return healed_; }
  std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (unsigned age = 0; age <= kSubWindows; ++age) sum += halves_[age];
    return sum;
  }

  void add(std::uint64_t tokens) { halves_[0] += static_cast<std::uint32_t>(tokens); }

  // What was charged just now counts in the newest sub-window, whatever the present one is.
  std::uint64_t remove(const Book& book, std::uint64_t tokens, std::uint64_t ageNs) {
    return take(ageNs == 0 ? 0 : newest_ - book.scale().at(nowNs_ - ageNs), tokens);
  }

  // From the sub-window that went by that number, and had that nonce, when the entry was last written.
  std::uint64_t removeOf(std::uint64_t index, std::uint32_t nonce, std::uint64_t tokens) {
    return nonce == nonce_ && index <= stored_ ? take(stored_ - index, tokens) : 0;
  }

  std::uint64_t lessAtNs(const Book& book, std::uint64_t tokens) const {
    unsigned age = kSubWindows;
    for (std::uint64_t sum = halves_[age]; sum < tokens && age != 0;) sum += halves_[--age];
    return book.scale().firstNsAt(newest_ + (kSubWindows + 1 - age));
  }

  void store(const Book&, Entry& next) const {
    next.payload = lowerBits(newest_) << kTotalBits | std::min(total(), kMost);
    next.meta = upperBits(newest_);
    next.words[0] = newest_;
    const auto packed = std::bit_cast<std::array<std::uint64_t, 7>>(halves_);
    std::copy(packed.begin(), packed.end(), next.words.begin() + 1);
  }

  // The parts of a sub-window's number that stand in payload and meta.
  static constexpr std::uint64_t lowerBits(std::uint64_t index) { return index & ((1U << kLowerBits) - 1); }
  static constexpr std::uint32_t upperBits(std::uint64_t index) {
    return static_cast<std::uint32_t>(index >> kLowerBits) & (kBlockedFlag - 1);
  }

  static std::uint32_t nonceOf(const Entry& entry) { return halvesOf(entry)[kNonceAt]; }
  static void setNonce(Entry& entry, std::uint32_t nonce) {
    entry.words[7] = (entry.words[7] & ~std::uint32_t{0}) | std::uint64_t{nonce} << 32;
  }

 private:
  static constexpr unsigned kLowerBits = kPayloadBits - kTotalBits;

  // The counts by age, then the nonce.
  using Halves = std::array<std::uint32_t, 14>;
  static constexpr std::size_t kNonceAt = 13;

  static Halves halvesOf(const Entry& entry) {
    std::array<std::uint64_t, 7> packed;
    std::copy_n(entry.words.begin() + 1, 7, packed.begin());
    return std::bit_cast<Halves>(packed);
  }

  void shiftBy(std::uint64_t steps) {
    const auto shift = static_cast<unsigned>(std::min<std::uint64_t>(steps, kSubWindows + 1));
    std::copy_backward(halves_.begin(), halves_.begin() + (kSubWindows + 1 - shift),
                       halves_.begin() + kSubWindows + 1);
    std::fill_n(halves_.begin(), shift, 0U);
  }

  std::uint64_t take(std::uint64_t age, std::uint64_t tokens) {
    if (age > kSubWindows) return 0;
    std::uint32_t& count = halves_[static_cast<std::size_t>(age)];
    const auto taken = static_cast<std::uint32_t>(std::min<std::uint64_t>(tokens, count));
    count -= taken;
    return taken;
  }

  std::uint64_t nowNs_;
  std::uint64_t newest_ = 0;  // the number of the sub-window of age 0
  std::uint64_t stored_;      // the same, in the numbers of before it was healed
  Halves halves_;
  std::uint32_t nonce_;  // likewise
  bool healed_ = false;
};

template <bool kTakesDebt>
class SubWindowRing : public WideCounter<SubWindowCounts, kTakesDebt> {
 public:
  using Book = SubWindowBook;
  using Entry = SubWindowCounts::Entry;

  // The present, known only to lie in [low, high].
  struct Frame {
    std::uint64_t limit = 0;
    std::uint64_t lowerBits = 0;
    std::uint32_t upperBits = kMetaMask + 1;  // what no entry has, unless both lie in the same sub-window
  };
  static Frame frame(const Book& book, std::uint32_t asked, std::uint64_t lowNs, std::uint64_t highNs) {
    const std::uint64_t index = book.scale().at(lowNs);
    if (index != book.scale().at(highNs)) return {};
    return {book[asked].limit, SubWindowCounts::lowerBits(index), SubWindowCounts::upperBits(index)};
  }
  // `charge`, if it comes out the same at every time within the frame.
  static Verdict chargeWithin(const Frame& frame, const sluice::Entry& entry, std::uint64_t cost) {
    std::uint64_t left;
    return decide(frame, entry, cost, &left);
  }
  // `charge` at the one time of a frame of no width, if it admits; else nothing. `left` is what is left then.
  static Verdict admitAt(const Frame& frame, const sluice::Entry& entry, std::uint64_t cost,
                         std::uint64_t* left) {
    const Verdict verdict = decide(frame, entry, cost, left);
    return verdict.kind == Verdict::Kind::kAdmit ? verdict : Verdict{};
  }

 private:
  static Verdict decide(const Frame& frame, const sluice::Entry& entry, std::uint64_t cost,
                        std::uint64_t* left) {
    constexpr unsigned kTotalBits = SubWindowCounts::kTotalBits;
    if (entry.meta != frame.upperBits || entry.payload >> kTotalBits != frame.lowerBits) return {};
    if (cost - 1 >= frame.limit) return {};
    const std::uint64_t spent = (entry.payload & SubWindowCounts::kTotalMask) + cost;
    if (spent > frame.limit) return {Verdict::Kind::kRefuse, 0};
    *left = frame.limit - spent;
    return {Verdict::Kind::kAdmit, entry.payload + cost};
  }
};

}  // namespace sluice
