// The policies of a table in the terms of its algorithm: one user's own copy of the table's list, brought up
// to date where a policy turns up in it that is not known yet. Grows, never shrinks; not for two threads at
// once.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "core/policy_list.h"

namespace sluice {

// `Derived` has `policyFrom(const PolicySpec&) -> std::optional<Policy>`; a Policy has `mostAtOnce()`, the
// most that can be spent at once.
template <class Derived, class Policy>
class PolicyBook {
 public:
  // From here on, has the policies of that list. REQUIRES that none was added.
  void follow(const PolicyList& list) {
    list_ = &list;
    // Never moved: who looks at one policy may make another one known.
    policies_.reserve(PolicyList::kMax);
    catchUp();
  }

  // Adds a policy to a book that follows no list. Nothing if it cannot be represented, or there are too many.
  std::optional<std::uint32_t> add(const PolicySpec& spec) {
    if (!accepts(spec) || policies_.size() == PolicyList::kMax) return std::nullopt;
    push(spec);
    return static_cast<std::uint32_t>(policies_.size() - 1);
  }
  bool accepts(const PolicySpec& spec) const { return derived().policyFrom(spec).has_value(); }

  // The policy of that index, which stays where it is; the strictest there can be if there is none, which
  // only a corrupt table asks for.
  const Policy& operator[](std::uint32_t index) const {
    if (index < policies_.size()) return policies_[index];
    catchUp();
    return index < policies_.size() ? policies_[index] : none_;
  }
  std::size_t size() const { return policies_.size(); }
  const PolicySpec& specAt(std::uint32_t index) const { return specs_[index]; }

  // Takes over what the list has and this has not. Happens by itself where it is needed.
  void catchUp() const {
    if (list_ == nullptr) return;
    const std::uint32_t size = list_->size();
    for (auto i = static_cast<std::uint32_t>(policies_.size()); i < size; ++i) push((*list_)[i]);
  }

  // The limiter's own policy.
  std::uint32_t base() const { return list_ != nullptr ? list_->base() : 0; }

  // The least that any policy in use lets pass at once: the tiers, and the limiter's own as it is now.
  std::uint64_t strictest() const {
    catchUp();
    const std::uint32_t own = base();  // once: others may change it
    if (own >= specs_.size() || !specs_[own].isBase) return strictestTier_;
    return std::min(strictestTier_, policies_[own].mostAtOnce());
  }

 private:
  const Derived& derived() const { return static_cast<const Derived&>(*this); }

  void push(const PolicySpec& spec) const {
    policies_.push_back(derived().policyFrom(spec).value_or(none_));
    specs_.push_back(spec);
    if (!spec.isBase) strictestTier_ = std::min(strictestTier_, policies_.back().mostAtOnce());
  }

  const PolicyList* list_ = nullptr;
  Policy none_{};
  // A cache of what `list_` holds.
  mutable std::vector<Policy> policies_;
  mutable std::vector<PolicySpec> specs_;
  mutable std::uint64_t strictestTier_ = kMaxTokens;
};

}  // namespace sluice
