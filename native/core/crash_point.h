// Where a process may die. In a build for crash tests (SLUICE_CRASH_POINTS) the test decides at every such
// point whether it does; everywhere else this is nothing.
#pragma once

namespace sluice {

#if defined(SLUICE_CRASH_POINTS)
inline void (*atCrashPoint)() = nullptr;
inline void crashPoint() {
  if (atCrashPoint != nullptr) atCrashPoint();
}
#else
inline void crashPoint() {}
#endif

}  // namespace sluice
