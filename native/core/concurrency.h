// Concurrency: never more than `limit` places held at once. A place is held until it is released, or lapses:
// at least a window and at most 13/12 of one after it was acquired (sub_window_ring.h), so that the places of
// holders who died come back.
//
// A holder keeps a ticket: the sub-window in which it acquired, and the entry's nonce, which is another one
// each time the key is entered into the table anew. So a place of before a reset or an eviction gives nothing
// back. What the engine cannot know is whether a ticket was used before: to release twice would give back the
// place of somebody else who acquired in the same sub-window. The object that holds the ticket must see to
// that.
#pragma once

#include "core/sub_window_ring.h"

namespace sluice {

class Concurrency : public SubWindowRing<false> {
 public:
  static constexpr std::uint64_t kId = 7;

  struct Ticket {
    std::uint64_t index = 0;  // of the sub-window
    std::uint32_t nonce = 0;
    friend constexpr bool operator==(const Ticket&, const Ticket&) = default;
  };

  // The ticket of the charge that was just admitted and made the entry this.
  static Ticket ticketOf(const Entry& entry) { return {entry.words[0], SubWindowCounts::nonceOf(entry)}; }

  // Makes tickets of an entry of that key from before worthless.
  static void name(Entry& entry, std::uint32_t nonce) { SubWindowCounts::setNonce(entry, nonce); }

  // Gives back up to `tokens` places acquired with that ticket, as far as they have not lapsed.
  static Step release(const Book& book, const Entry& entry, std::uint64_t nowNs, std::uint64_t tokens,
                      const Ticket& ticket) {
    SubWindowCounts counts(book, entry, nowNs);
    const std::uint64_t amount = counts.removeOf(ticket.index, ticket.nonce, tokens);
    return moved(book, entry, nowNs, counts, amount);
  }
};

}  // namespace sluice
