// The functions of one policy of a limiter, as JavaScript calls them.
#pragma once

#include <node_api.h>

#include <memory>

#include "binding/attachment.h"

namespace sluice {

// An object with the operations under one policy: allow, consume, peek, refund, penalize, block, reset,
// consumeText, consumeIntegers. Every function carries its view in its data pointer, which is three times
// cheaper to reach than a wrapped `this`. `followsBase`: it is the limiter's own policy, and changes with it.
template <class Algorithm>
napi_value makeViewFunctions(napi_env env, std::shared_ptr<Attachment<Algorithm>> attachment,
                             std::uint32_t policy, bool followsBase);

// A Float64Array and where its numbers lie; null while the environment is being torn down.
double* makeNumbers(napi_env env, std::size_t length, napi_value* array);

// Adds a native function to `object`, which keeps `owned` alive until it is collected. False while the
// environment is being torn down.
template <class Owned>
bool addFunction(napi_env env, napi_value object, const char* name, napi_callback callback,
                 const std::shared_ptr<Owned>& owned) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, owned.get(), &function) != napi_ok)
    return false;
  auto* holder = new std::shared_ptr<Owned>(owned);
  const auto release = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Owned>*>(data); };
  if (napi_add_finalizer(env, function, holder, release, nullptr, nullptr) != napi_ok) {
    delete holder;
    return false;
  }
  return napi_set_named_property(env, object, name, function) == napi_ok;
}

}  // namespace sluice
