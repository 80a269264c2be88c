#include "core/region.h"

#include "core/clock.h"

namespace sluice {

namespace {

// As far as a user's clock may be from its zero.
constexpr std::int64_t kMaxOriginUs = 9'000'000'000'000'000;

ShareFailure failure(ShareStatus status, std::string detail) { return {status, std::move(detail)}; }

// Writes header and first policy into zeroed memory.
RegionHeader format(std::byte* base, std::size_t bytes, const RegionSpec& spec, const Machine& machine) {
  RegionHeader header;
  header.bytes = bytes;
  header.algorithm = spec.algorithm;
  header.maxKeys = spec.maxKeys;
  header.wordsPerSlot = spec.wordsPerSlot;
  header.book = spec.book;
  header.escalation = spec.escalation;
  header.seed = spec.seed;
  header.time = spec.time;
  header.time.originNs -= static_cast<std::uint64_t>(machine.clockAheadNs.value_or(0));
  header.bootId = machine.bootId;
  header.createdEpochMs = SystemClock::epochNs() / kNsPerMs;
  header.id = spec.id;
  header.checksum = header.computeChecksum();
  std::memcpy(base, &header, sizeof header);
  auto* policies = reinterpret_cast<PolicyList*>(base + Layout::kPolicies);
  if (spec.base.limit != 0) policies->start(spec.base);
  return header;
}

// Why that memory is no region that this code can use.
ShareFailure check(const RegionHeader& header, std::size_t bytes) {
  if (header.magic != RegionHeader::kMagic)
    return failure(ShareStatus::kCorrupt, "it does not begin like a region");
  if (header.layoutVersion != RegionHeader::kLayoutVersion) {
    return failure(ShareStatus::kVersion, "its layout is version " + std::to_string(header.layoutVersion) +
                                              ", this sluice's is " +
                                              std::to_string(RegionHeader::kLayoutVersion));
  }
  if (header.checksum != header.computeChecksum())
    return failure(ShareStatus::kCorrupt, "its header does not match its checksum");
  if (header.time.phaseNs > kHorizonNs || header.time.originUs > kMaxOriginUs ||
      header.time.originUs < -kMaxOriginUs) {
    return failure(ShareStatus::kCorrupt, "its time begins nowhere");
  }
  const bool sane = header.maxKeys >= 1 && header.maxKeys <= Geometry::kMaxKeys &&
                    header.wordsPerSlot <= Layout::kMaxWordsPerSlot &&
                    header.escalation.steps <= Escalation::kMaxSteps;
  const std::size_t expected =
      sane ? roundUp(Layout::bytes(Geometry::forKeys(header.maxKeys), header.wordsPerSlot), kPageBytes) : 0;
  if (header.bytes != bytes || expected != bytes) {
    return failure(ShareStatus::kCorrupt,
                   "it has " + std::to_string(bytes) + " bytes and should have " + std::to_string(expected));
  }
  return {};
}

// The header of shared memory, as untrusted as the rest of it.
std::optional<RegionHeader> headerOf(const SharedMemory& memory) {
  if (memory.bytes() < Layout::kStripes) return std::nullopt;
  RegionHeader header;
  std::memcpy(&header, memory.base(), sizeof header);
  return header;
}

bool isAnyoneAttached(const SharedMemory& memory) {
  for (unsigned place = 0; place < Member::kPlaces; ++place) {
    if (memory.isLockedByOther(place)) return true;
  }
  return false;
}

// Whether the region is from before the machine's last start: as far as that can be told, and nobody has it.
bool isStale(const SharedMemory& memory, const RegionHeader& header, const Machine& machine) {
  const std::array<std::uint64_t, 2> unknown{};
  if (header.bootId == machine.bootId || header.bootId == unknown || machine.bootId == unknown) return false;
  return !isAnyoneAttached(memory);
}

// Takes the name from a region that is not to be used any more, unless somebody else has done so.
ShareFailure takeNameAway(SharedMemory& memory, const std::string& name) {
  ShareFailure failed = memory.enterGate(true);
  if (failed.status != ShareStatus::kOk) return failed;
  if (memory.isNamed(name) && !isAnyoneAttached(memory)) failed = memory.unlink(name);
  memory.leaveGate();
  return failed;
}

ShareFailure needsClock(const Machine& machine, const TimeBase& time) {
  if (machine.clockAheadNs || time.userClock != 0) return {};
  return failure(ShareStatus::kSystem,
                 "this process was started with a time namespace for its children only, so the clock that it "
                 "has in common with other processes cannot be told");
}

}  // namespace

Region::Region(std::variant<Memory, std::unique_ptr<SharedMemory>> memory, const RegionHeader& header,
               std::int64_t clockAheadNs)
    : memory_(std::move(memory)),
      base_(shared() != nullptr ? shared()->base() : std::get<Memory>(memory_).base()),
      bytes_(header.bytes),
      header_(header),
      geometry_(Geometry::forKeys(header.maxKeys)),
      time_(header.time) {
  time_.originNs += static_cast<std::uint64_t>(clockAheadNs);
}

SharedMemory* Region::shared() const {
  const auto* shared = std::get_if<std::unique_ptr<SharedMemory>>(&memory_);
  return shared != nullptr ? shared->get() : nullptr;
}

Region::Attached Region::allocate(const RegionSpec& spec) {
  auto memory = Memory::allocate(Layout::bytes(Geometry::forKeys(spec.maxKeys), spec.wordsPerSlot));
  if (!memory) return {nullptr, std::nullopt, failure(ShareStatus::kNoSpace, {})};
  const RegionHeader header = format(memory->base(), memory->bytes(), spec, Machine{});
  return attach(std::shared_ptr<Region>(new Region(std::move(*memory), header, 0)));
}

Region::Attached Region::attach(std::shared_ptr<Region> region) {
  auto member = Membership::join(region->members(), 0, Member::kMax, nullptr, Machine{});
  if (!member) return {nullptr, std::nullopt, failure(ShareStatus::kFull, {})};
  return {std::move(region), std::move(member), {}};
}

// REQUIRES that the gate is entered; leaves it.
Region::Attached Region::enter(std::unique_ptr<SharedMemory> memory, const Machine& machine, Role role) {
  const auto header = headerOf(*memory);
  ShareFailure failed = header ? check(*header, memory->bytes())
                               : failure(ShareStatus::kCorrupt, "it is smaller than any region");
  if (failed.status == ShareStatus::kOk) failed = needsClock(machine, header->time);
  if (failed.status != ShareStatus::kOk) return {nullptr, std::nullopt, failed};
  SharedMemory* shared = memory.get();
  const std::shared_ptr<Region> region(
      new Region(std::move(memory), *header, machine.clockAheadNs.value_or(0)));
  const bool isTool = role == Role::kTool;
  auto member = Membership::join(region->members(), isTool ? Member::kMax : 0,
                                 isTool ? Member::kPlaces : Member::kMax, shared, machine);
  shared->leaveGate();
  if (!member) return {nullptr, std::nullopt, failure(ShareStatus::kFull, {})};
  return {region, std::move(member), {}};
}

// kExists if somebody else was first.
Region::Attached Region::create(const std::string& name, const RegionSpec& spec, const Machine& machine) {
  ShareFailure failed = needsClock(machine, spec.time);
  if (failed.status != ShareStatus::kOk) return {nullptr, std::nullopt, failed};
  SharedMemory::Result made =
      SharedMemory::make(Layout::bytes(Geometry::forKeys(spec.maxKeys), spec.wordsPerSlot));
  if (!made.memory) return {nullptr, std::nullopt, made.failure};
  format(made.memory->base(), made.memory->bytes(), spec, machine);
  failed = made.memory->enterGate(false);
  if (failed.status == ShareStatus::kOk) failed = made.memory->publish(name);
  if (failed.status != ShareStatus::kOk) return {nullptr, std::nullopt, failed};
  return enter(std::move(made.memory), machine, Role::kMember);
}

Region::Attached Region::openOrCreate(const std::string& name, const RegionSpec& spec) {
  const Machine machine = Machine::self();
  {
    Attached found = open(name, Role::kMember, machine);
    if (found.failure.status != ShareStatus::kNotFound) return found;
  }
  const MakersTurn turn;
  // Every round but the last one ends because somebody else was faster, who did not wait for their turn.
  for (int round = 0; round < 1000; ++round) {
    Attached found = open(name, Role::kMember, machine);
    if (found.failure.status != ShareStatus::kNotFound) return found;
    Attached made = create(name, spec, machine);
    if (made.failure.status != ShareStatus::kExists) return made;
  }
  return {nullptr, std::nullopt, failure(ShareStatus::kBusy, "it comes and goes all the time")};
}

Region::Attached Region::open(const std::string& name, Role role) {
  return open(name, role, Machine::self());
}

Region::Attached Region::open(const std::string& name, Role role, const Machine& machine) {
  for (;;) {
    SharedMemory::Result found = SharedMemory::open(name);
    if (!found.memory) return {nullptr, std::nullopt, found.failure};
    SharedMemory& memory = *found.memory;
    const auto header = headerOf(memory);
    if (header && check(*header, memory.bytes()).status == ShareStatus::kOk &&
        isStale(memory, *header, machine)) {
      if (ShareFailure failed = takeNameAway(memory, name); failed.status != ShareStatus::kOk)
        return {nullptr, std::nullopt, failed};
      continue;
    }
    if (ShareFailure failed = memory.enterGate(false); failed.status != ShareStatus::kOk)
      return {nullptr, std::nullopt, failed};
    if (memory.isNamed(name)) return enter(std::move(found.memory), machine, role);
  }
}

ShareFailure Region::remove(const std::string& name, bool force) {
  return SharedMemory::remove(name, Member::kMax, force);
}

}  // namespace sluice
