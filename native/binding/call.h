// What every bound function does first: fetch its view, its arguments, the key and the time.
#pragma once

#include <optional>

#include "binding/attachment.h"
#include "core/operations.h"

namespace sluice {

inline void throwClosed(napi_env env) {
  throwType(env, "ERR_SLUICE_CLOSED", "the limiter is closed; create a new one");
}

inline void throwBusy(napi_env env) {
  throwRange(
      env, "ERR_SLUICE_SHARED_BUSY",
      "a process that shares the limiter was stopped in the middle of a change (SIGSTOP, a debugger, a "
      "frozen container); let it go on, or end it");
}

// `kArguments` is how many arguments the function takes: each one asked for costs, passed or not.
template <class Algorithm, std::size_t kArguments>
class Call {
 public:
  Call(napi_env env, napi_callback_info info) : env_(env) {
    void* data;
    napi_get_cb_info(env, info, &count_, arguments_, nullptr, &data);
    view_ = static_cast<View<Algorithm>*>(data);
  }

  View<Algorithm>& view() const { return *view_; }
  Attachment<Algorithm>& attachment() const { return *view_->attachment; }
  Table<Algorithm>& table() const { return *attachment().table; }
  napi_value argument(std::size_t index) const { return arguments_[index]; }
  bool has(std::size_t index) const { return index < count_ && !isUndefined(env_, arguments_[index]); }

  // False, and ERR_SLUICE_CLOSED thrown, if there is no table any more.
  bool open() const {
    if (attachment().table) {
      view_->catchUp();
      return true;
    }
    throwClosed(env_);
    return false;
  }
  bool key(Path* path) const {
    Digest digest;
    if (!open() || !attachment().keys.read(env_, arguments_[0], table().hasher(), &digest)) return false;
    *path = table().pathOf(digest);
    table().prefetch(*path);  // on its way while the clock is read
    return true;
  }
  bool tokens(std::size_t index, const char* name, std::uint64_t byDefault, std::uint64_t* tokens) const {
    *tokens = byDefault;
    return !has(index) || readTokens(env_, arguments_[index], name, tokens);
  }
  // A request about `path`, now; nothing, and an error thrown, if the user's clock fails.
  std::optional<Request<Algorithm>> request(const Path& path) const {
    std::uint64_t nowNs;
    if (!attachment().clock.now(env_, &nowNs)) return std::nullopt;
    return requestAt(path, nowNs);
  }
  // The same at a time that is known.
  Request<Algorithm> requestAt(const Path& path, std::uint64_t nowNs) const {
    return {table(), path, view_->policy, nowNs, attachment().clock.later()};
  }
  // A request about the key in the first argument, now; nothing, and an error thrown, if either is invalid.
  std::optional<Request<Algorithm>> request() const {
    Path path;
    if (!key(&path)) return std::nullopt;
    return request(path);
  }

 private:
  napi_env env_;
  std::size_t count_ = kArguments;
  napi_value arguments_[kArguments];
  View<Algorithm>* view_;
};

}  // namespace sluice
