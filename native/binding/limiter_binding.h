// What concerns a limiter as a whole, as JavaScript calls it.
#pragma once

#include <node_api.h>

#include <span>

#include "core/region.h"

namespace sluice {

// A limiter on the region, for this environment: an object with results, facts, base (the functions under the
// limiter's own policy), addPolicy, setPolicy, policy, stats, members, handle, close. Throws, and returns
// nothing, if the region cannot be used with that clock: `cell` is where JavaScript writes the time, `owner`
// the value that holds it; null for the machine's clock. `name` is how errors call the limiter.
napi_value wrapRegion(napi_env env, Region::Attached attached, const double* cell, napi_value owner,
                      const std::string& name);

// A new limiter with what is in a dump (core/dump.h), for this environment; else as wrapRegion.
napi_value restoreDump(napi_env env, std::span<const std::uint64_t> words, const double* cell,
                       napi_value owner);

// How a policy crosses from JavaScript: limit, windowNs, burst, initial, rememberNs, evenly.
inline constexpr std::size_t kPolicyNumbers = 6;
PolicySpec policyFrom(const std::uint64_t* numbers);

// Reads a Float64Array of at most `most` numbers; how many it has. 0 if it is none.
std::size_t readNumbers(napi_env env, napi_value array, std::uint64_t* numbers, std::size_t most);

}  // namespace sluice
