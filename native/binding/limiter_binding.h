// What concerns a limiter as a whole, as JavaScript calls it.
#pragma once

#include <node_api.h>

#include "core/region.h"

namespace sluice {

// A limiter on the region, for this environment: an object with results, facts, base (the functions under the
// limiter's own policy), addPolicy, setPolicy, policy, stats, members, handle, close. Throws, and returns
// nothing, if the region cannot be used with that clock: `cell` is where JavaScript writes the time, `owner`
// the value that holds it; null for the machine's clock. `name` is how errors call the limiter.
napi_value wrapRegion(napi_env env, Region::Attached attached, const double* cell, napi_value owner,
                      const std::string& name);

}  // namespace sluice
