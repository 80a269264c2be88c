#include "core/shared_memory.h"

#if defined(__linux__) && !defined(SLUICE_WITHOUT_SHARED_MEMORY)

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/crash_point.h"
#include "core/memory.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace sluice {

namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr char kPrefix[] = "sluice.";
constexpr unsigned kGate = 1U << 20;  // beyond the places that callers lock
constexpr std::uint64_t kLongestWaitNs = 1'000'000'000;
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

std::string pathOf(const std::string& name) { return std::string(kFolder) + '/' + kPrefix + name; }

ShareFailure failure(ShareStatus status, std::string detail) { return {status, std::move(detail)}; }
ShareFailure systemFailure(const char* what, int error) {
  return failure(ShareStatus::kSystem, std::string(what) + ": " + std::strerror(error));
}

// Open-file-description locks: they belong to the descriptor, so they end when the process does, whatever
// namespaces it lives in, and two mappings in one process keep each other out.
bool lockPlace(int file, unsigned place, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = place;
  lock.l_len = 1;
  return fcntl(file, F_OFD_SETLK, &lock) == 0;
}

std::uint64_t monotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}
void pauseFor(long ns) {
  const timespec pause = {0, ns};
  nanosleep(&pause, nullptr);
}

std::string readSmallFile(const char* path) {
  char text[512];
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const ssize_t length = read(file, text, sizeof text);
  close(file);
  return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : std::string();
}

// Why an open file cannot be a region of this user.
ShareFailure checkFile(const struct stat& facts) {
  if (!S_ISREG(facts.st_mode)) return failure(ShareStatus::kCorrupt, "it is not a regular file");
  if (facts.st_uid != geteuid())
    return failure(ShareStatus::kForeign, "it belongs to user " + std::to_string(facts.st_uid));
  if ((facts.st_mode & 0177) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", facts.st_mode & 07777);
    return failure(ShareStatus::kForeign,
                   "its mode is " + std::string(mode) + ", not 0600 (chmod 600, or remove it)");
  }
  if (facts.st_size <= 0 || static_cast<std::size_t>(facts.st_size) % kPageBytes != 0)
    return failure(ShareStatus::kCorrupt, "its size is " + std::to_string(facts.st_size) + " bytes");
  // A hole would be filled when it is touched, or kill the process if there is no memory left.
  if (facts.st_blocks * 512 < facts.st_size)
    return failure(ShareStatus::kCorrupt, "parts of it are not allocated");
  return {};
}

ShareFailure noSpace(std::size_t bytes) {
  struct statvfs space;
  std::string text = "it needs " + std::to_string(bytes) + " bytes in " + kFolder;
  if (statvfs(kFolder, &space) == 0) {
    text += ", which has " + std::to_string(std::uint64_t{space.f_bavail} * space.f_frsize) + " of " +
            std::to_string(std::uint64_t{space.f_blocks} * space.f_frsize) + " free";
  }
  return failure(ShareStatus::kNoSpace, text);
}

ShareFailure allocate(int file, std::size_t bytes) {
  struct statvfs space;
  // Asked first, because the system would fill what is left before it finds out.
  if (statvfs(kFolder, &space) == 0 && std::uint64_t{space.f_blocks} != 0 &&
      std::uint64_t{space.f_bavail} * space.f_frsize < bytes) {
    return noSpace(bytes);
  }
  // Piece by piece: a piece that a signal interrupts is undone by the system, and begun anew.
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t piece = std::min(bytes - done, kPieceBytes);
    const int error = posix_fallocate(file, static_cast<off_t>(done), static_cast<off_t>(piece));
    if (error == ENOSPC || error == ENOMEM || error == EFBIG) return noSpace(bytes);
    if (error != 0 && error != EINTR) return systemFailure("fallocate", error);
    if (error == 0) done += piece;
  }
  return {};
}

}  // namespace

SharedMemory::Result SharedMemory::map(int file, std::size_t bytes) {
  const bool large = bytes >= kHugePageBytes;
  // Room to start on a huge page.
  const std::size_t room = large ? bytes + kHugePageBytes : bytes;
  void* reserved = mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) {
    close(file);
    return {nullptr, systemFailure("mmap", errno)};
  }
  auto* base = static_cast<std::byte*>(reserved);
  if (large) {
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    const std::size_t before = roundUp(address, kHugePageBytes) - address;
    if (before != 0) munmap(base, before);
    base += before;
    if (before != kHugePageBytes) munmap(base + bytes, kHugePageBytes - before);
  }
  if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
    const int error = errno;
    munmap(base, bytes);
    close(file);
    return {nullptr, systemFailure("mmap", error)};
  }
  return {std::unique_ptr<SharedMemory>(new SharedMemory(file, base, bytes)), {}};
}

SharedMemory::Result SharedMemory::make(std::size_t bytes) {
  bytes = roundUp(bytes, kPageBytes);
  const int file = ::open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return {nullptr, systemFailure(kFolder, errno)};
  fchmod(file, 0600);  // whatever the umask made of it
  if (ShareFailure failed = allocate(file, bytes); failed.status != ShareStatus::kOk) {
    close(file);
    return {nullptr, failed};
  }
  Result made = map(file, bytes);
  // Works on shared memory whatever the system's setting for it, and costs the maker once. If it does not,
  // small pages do as well, only slower.
  if (made.memory && bytes >= kHugePageBytes)
    madvise(made.memory->base(), bytes / kHugePageBytes * kHugePageBytes, MADV_COLLAPSE);
  return made;
}

SharedMemory::Result SharedMemory::open(const std::string& name) {
  const int file = ::open(pathOf(name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) {
    if (errno == ENOENT) return {nullptr, failure(ShareStatus::kNotFound, {})};
    if (errno == ELOOP) return {nullptr, failure(ShareStatus::kCorrupt, "it is a symbolic link")};
    if (errno == EISDIR) return {nullptr, failure(ShareStatus::kCorrupt, "it is a folder")};
    if (errno == EACCES || errno == EPERM)
      return {nullptr, failure(ShareStatus::kForeign, "it belongs to another user")};
    return {nullptr, systemFailure(pathOf(name).c_str(), errno)};
  }
  struct stat facts;
  ShareFailure wrong = fstat(file, &facts) == 0 ? checkFile(facts) : systemFailure("fstat", errno);
  if (wrong.status != ShareStatus::kOk) {
    close(file);
    return {nullptr, wrong};
  }
  return map(file, static_cast<std::size_t>(facts.st_size));
}

std::vector<std::string> SharedMemory::list() {
  std::vector<std::string> names;
  DIR* folder = opendir(kFolder);
  if (folder == nullptr) return names;
  const std::size_t prefix = std::strlen(kPrefix);
  while (const dirent* entry = readdir(folder)) {
    struct stat facts;
    if (std::strncmp(entry->d_name, kPrefix, prefix) != 0) continue;
    if (fstatat(dirfd(folder), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(facts.st_mode) && facts.st_uid == geteuid()) names.emplace_back(entry->d_name + prefix);
  }
  closedir(folder);
  return names;
}

SharedMemory::~SharedMemory() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (file_ >= 0) close(file_);
}

ShareFailure SharedMemory::publish(const std::string& name) {
  const std::string self = "/proc/self/fd/" + std::to_string(file_);
  crashPoint();
  if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, pathOf(name).c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
  if (errno == EEXIST) return failure(ShareStatus::kExists, {});
  return systemFailure(pathOf(name).c_str(), errno);
}

bool SharedMemory::isNamed(const std::string& name) const {
  struct stat named, mine;
  return lstat(pathOf(name).c_str(), &named) == 0 && fstat(file_, &mine) == 0 &&
         named.st_dev == mine.st_dev && named.st_ino == mine.st_ino;
}

ShareFailure SharedMemory::unlink(const std::string& name) {
  if (::unlink(pathOf(name).c_str()) == 0) return {};
  return systemFailure(pathOf(name).c_str(), errno);
}

ShareFailure SharedMemory::remove(const std::string& name, unsigned places, bool force) {
  const std::string path = pathOf(name);
  struct stat facts;
  if (lstat(path.c_str(), &facts) != 0) {
    return errno == ENOENT ? failure(ShareStatus::kNotFound, {}) : systemFailure(path.c_str(), errno);
  }
  if (facts.st_uid != geteuid())
    return failure(ShareStatus::kForeign, "it belongs to user " + std::to_string(facts.st_uid));
  // Not mapped: it may be no region. A link, or what cannot be opened, has no members.
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0 && errno == ENOENT) return failure(ShareStatus::kNotFound, {});
  SharedMemory opened(file, nullptr, 0);
  ShareFailure failed = file < 0 ? ShareFailure{} : opened.enterGate(true);
  for (unsigned place = 0; file >= 0 && place < places && failed.status == ShareStatus::kOk; ++place) {
    if (opened.isLockedByOther(place))
      failed = failure(ShareStatus::kBusy, "limiter objects are attached to it (npx sluice inspect " + name +
                                               " lists their processes); close them, or use force");
  }
  if (failed.status != ShareStatus::kOk && !force) return failed;
  if (file >= 0 && !opened.isNamed(name)) return failure(ShareStatus::kNotFound, {});
  return opened.unlink(name);
}

bool SharedMemory::tryLock(unsigned place) { return lockPlace(file_, place, F_WRLCK); }
void SharedMemory::unlock(unsigned place) { lockPlace(file_, place, F_UNLCK); }

bool SharedMemory::isLockedByOther(unsigned place) const {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = place;
  lock.l_len = 1;
  // If the system cannot say, assume the holder lives: waiting harms less than two holders.
  return fcntl(file_, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

ShareFailure SharedMemory::enterGate(bool exclusive) {
  for (const std::uint64_t startNs = monotonicNs(); monotonicNs() - startNs < kLongestWaitNs;) {
    if (lockPlace(file_, kGate, exclusive ? F_WRLCK : F_RDLCK)) return {};
    if (errno != EAGAIN && errno != EACCES) return systemFailure("fcntl(F_OFD_SETLK)", errno);
    pauseFor(100'000);
  }
  return failure(ShareStatus::kBusy,
                 "a process that was about to attach to it, or to remove it, has been stopped half-way");
}
void SharedMemory::leaveGate() { lockPlace(file_, kGate, F_UNLCK); }

MakersTurn::MakersTurn() : folder_(::open(kFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  const std::uint64_t startNs = monotonicNs();
  while (flock(folder_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
         monotonicNs() - startNs < kLongestWaitNs) {
    pauseFor(1'000'000);
  }
}
MakersTurn::~MakersTurn() {
  if (folder_ >= 0) close(folder_);
}

namespace {

std::array<std::uint64_t, 2> bootIdOf(const std::string& text) {
  std::array<std::uint64_t, 2> id{};
  std::size_t digits = 0;
  for (const char c : text) {
    const char digit[] = {c, 0};
    char* end;
    const unsigned long value = std::strtoul(digit, &end, 16);
    if (end == digit || digits == 32) continue;
    id[digits / 16] = id[digits / 16] << 4 | value;
    ++digits;
  }
  return id;
}

std::string linkTarget(const char* path) {
  char text[64];
  const ssize_t length = readlink(path, text, sizeof text);
  return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : std::string();
}

// The file gives the offsets of the namespace that children will be in, which is nearly always our own.
std::optional<std::int64_t> clockAheadNs() {
  const std::string own = linkTarget("/proc/self/ns/time");
  if (own.empty() && errno == ENOENT) return 0;  // a system without time namespaces
  if (own != linkTarget("/proc/self/ns/time_for_children")) return std::nullopt;
  const std::string offsets = readSmallFile("/proc/self/timens_offsets");
  long long seconds, nanoseconds;
  if (std::sscanf(offsets.c_str(), "monotonic %lld %lld", &seconds, &nanoseconds) != 2) return std::nullopt;
  return seconds * 1'000'000'000 + nanoseconds;
}

}  // namespace

Machine Machine::self() {
  Machine machine;
  machine.bootId = bootIdOf(readSmallFile("/proc/sys/kernel/random/boot_id"));
  machine.clockAheadNs = sluice::clockAheadNs();
  machine.process = static_cast<std::uint64_t>(getpid());
  struct stat facts;
  if (stat("/proc/self/ns/pid", &facts) == 0) machine.processNamespace = facts.st_ino;
  return machine;
}

}  // namespace sluice

#else

namespace sluice {

namespace {
ShareFailure unsupported() { return {ShareStatus::kUnsupported, {}}; }
}  // namespace

SharedMemory::Result SharedMemory::map(int, std::size_t) { return {nullptr, unsupported()}; }
SharedMemory::Result SharedMemory::make(std::size_t) { return {nullptr, unsupported()}; }
SharedMemory::Result SharedMemory::open(const std::string&) { return {nullptr, unsupported()}; }
std::vector<std::string> SharedMemory::list() { return {}; }
SharedMemory::~SharedMemory() { (void)file_; }
ShareFailure SharedMemory::publish(const std::string&) { return unsupported(); }
bool SharedMemory::isNamed(const std::string&) const { return false; }
ShareFailure SharedMemory::unlink(const std::string&) { return unsupported(); }
ShareFailure SharedMemory::remove(const std::string&, unsigned, bool) { return unsupported(); }
bool SharedMemory::tryLock(unsigned) { return false; }
void SharedMemory::unlock(unsigned) {}
bool SharedMemory::isLockedByOther(unsigned) const { return true; }
ShareFailure SharedMemory::enterGate(bool) { return unsupported(); }
void SharedMemory::leaveGate() {}
MakersTurn::MakersTurn() : folder_(-1) {}
MakersTurn::~MakersTurn() { (void)folder_; }
Machine Machine::self() { return {}; }

}  // namespace sluice

#endif
