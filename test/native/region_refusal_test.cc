// What has a region's name and is not a whole region of this user is refused with a reason, and left as it
// is.
#include "core/region.h"

#include <linux/falloc.h>
#include <sys/file.h>

#include "region_files.h"
#include "shared_tables.h"

using check::RegionFile;
using check::RegionName;
using check::smallRegion;
using sluice::FixedWindow;
using sluice::kPageBytes;
using sluice::Region;
using sluice::RegionHeader;
using sluice::ShareStatus;
using sluice::TokenBucket;

namespace {

struct stat factsOf(const RegionName& name) {
  struct stat facts = {};
  lstat(name.path().c_str(), &facts);
  return facts;
}

// Neither way in gets in, both say why, and what is there stays.
void refused(const RegionName& name, ShareStatus expected, const std::string& says = {}) {
  const struct stat before = factsOf(name);
  for (const auto& attached :
       {Region::open(name.text()), Region::openOrCreate(name.text(), smallRegion<TokenBucket>())}) {
    CHECK_EQ(attached.failure.status, expected);
    CHECK(attached.region == nullptr && !attached.member.has_value());
    if (!CHECK(attached.failure.detail.find(says) != std::string::npos))
      check::note("it says:", attached.failure.detail, "expected:", says);
  }
  const struct stat after = factsOf(name);
  CHECK(after.st_ino == before.st_ino && after.st_size == before.st_size && after.st_mode == before.st_mode &&
        after.st_nlink == before.st_nlink);
}

void made(const RegionName& name) {
  name.clear();
  CHECK(Region::openOrCreate(name.text(), smallRegion<TokenBucket>()).region != nullptr);
}

}  // namespace

TEST(a_header_that_is_not_ours_is_refused) {
  struct Row {
    const char* says;
    ShareStatus status;
    bool fixesChecksum;
    void (*change)(RegionHeader&);
  };
  const Row rows[] = {
      {"begin like", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.magic = 0; }},
      {"begin like", ShareStatus::kCorrupt, true,
       [](RegionHeader& header) { header = {}, header.magic ^= 1; }},
      {"version 3", ShareStatus::kVersion, true, [](RegionHeader& header) { header.layoutVersion = 3; }},
      {"version 1", ShareStatus::kVersion, true, [](RegionHeader& header) { header.layoutVersion = 1; }},
      {"version 0", ShareStatus::kVersion, false, [](RegionHeader& header) { header.layoutVersion = 0; }},
      {"checksum", ShareStatus::kCorrupt, false, [](RegionHeader& header) { header.checksum ^= 1; }},
      {"checksum", ShareStatus::kCorrupt, false, [](RegionHeader& header) { header.seed[3] ^= 1; }},
      {"checksum", ShareStatus::kCorrupt, false, [](RegionHeader& header) { header.bootId[1] ^= 1; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.bytes += kPageBytes; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.maxKeys = 0; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.maxKeys = 1'000'000; }},
      {"bytes", ShareStatus::kCorrupt, true,
       [](RegionHeader& header) { header.maxKeys = ~std::uint64_t{0}; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.bytes = ~std::uint64_t{0}; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.wordsPerSlot = 8; }},
      {"bytes", ShareStatus::kCorrupt, true, [](RegionHeader& header) { header.wordsPerSlot = 65; }},
      {"bytes", ShareStatus::kCorrupt, true,
       [](RegionHeader& header) { header.wordsPerSlot = ~std::uint64_t{0}; }},
  };
  const RegionName name("header");
  for (const Row& row : rows) {
    made(name);
    RegionFile(name).changeHeader(row.change, row.fixesChecksum);
    refused(name, row.status, row.says);
  }
}

TEST(every_bit_of_the_header_counts) {
  const RegionName name("bits");
  made(name);
  RegionFile file(name);
  const RegionHeader whole = file.header();
  for (std::size_t bit = 0; bit < sizeof whole * 8; ++bit) {
    file.changeHeader(
        [&](RegionHeader& header) {
          reinterpret_cast<std::uint64_t*>(&header)[bit / 64] ^= std::uint64_t{1} << bit % 64;
        },
        false);
    const auto attached = Region::open(name.text());
    if (!CHECK(attached.failure.status == ShareStatus::kCorrupt ||
               attached.failure.status == ShareStatus::kVersion)) {
      check::note("bit", bit);
    }
    file.changeHeader([&](RegionHeader& header) { header = whole; }, false);
  }
  CHECK(Region::open(name.text()).region != nullptr);
}

TEST(an_algorithm_or_a_window_that_nobody_knows_is_not_attached) {
  const RegionName name("algorithm");
  const auto table = [&] { return sluice::Table<FixedWindow>::attach(Region::open(name.text())); };
  CHECK(Region::openOrCreate(name.text(), smallRegion<FixedWindow>()).region != nullptr);
  CHECK(table() != nullptr);
  for (const sluice::BookOptions& book :
       std::vector<sluice::BookOptions>{{0, 40, 0},
                                        {check::kDay, 0, 0},
                                        {10, 1000, 0},
                                        {~std::uint64_t{0}, 40, 0},
                                        {check::kDay, ~std::uint64_t{0}, 1}}) {
    RegionFile(name).changeHeader([&](RegionHeader& header) { header.book = book; });
    CHECK(table() == nullptr);
  }
  RegionFile(name).changeHeader([&](RegionHeader& header) { header.algorithm = 99; });
  CHECK(table() == nullptr && check::openTable<TokenBucket>(name) == nullptr);
}

TEST(a_file_of_another_size_is_refused) {
  const RegionName name("size");
  made(name);
  const std::size_t whole = RegionFile(name).bytes();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, kPageBytes, 2 * kPageBytes, whole / 2,
                                  whole - 1, whole - kPageBytes, whole + 1, whole + kPageBytes, 2 * whole}) {
    made(name);
    RegionFile(name).resize(bytes);
    refused(name, ShareStatus::kCorrupt);
  }
  made(name);
  {
    RegionFile file(name);  // grown, and every page of it there
    CHECK_EQ(posix_fallocate(file.descriptor(), 0, static_cast<off_t>(whole + kPageBytes)), 0);
  }
  refused(name, ShareStatus::kCorrupt, "should have " + std::to_string(whole));
}

TEST(a_file_with_a_hole_is_refused) {
  const RegionName name("hole");
  made(name);
  {
    const RegionFile file(name);
    CHECK_EQ(fallocate(file.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                       static_cast<off_t>(file.bytes() - kPageBytes), static_cast<off_t>(kPageBytes)),
             0);
  }
  refused(name, ShareStatus::kCorrupt, "not allocated");
}

TEST(a_file_that_others_may_use_is_refused) {
  const RegionName name("mode");
  for (const mode_t mode : {0640U, 0604U, 0660U, 0666U, 0700U, 0610U, 0601U}) {
    made(name);
    CHECK_EQ(chmod(name.path().c_str(), mode), 0);
    refused(name, ShareStatus::kForeign, "mode is 0");
  }
  made(name);
  CHECK_EQ(factsOf(name).st_mode & 07777, 0600);
}

TEST(what_is_no_file_is_refused) {
  const RegionName name("kind"), target("kind-target");
  made(target);
  CHECK_EQ(symlink(target.path().c_str(), name.path().c_str()), 0);
  refused(name, ShareStatus::kCorrupt, "symbolic link");
  name.clear();
  CHECK_EQ(symlink("/nowhere/at/all", name.path().c_str()), 0);
  refused(name, ShareStatus::kCorrupt, "symbolic link");
  name.clear();
  CHECK_EQ(mkdir(name.path().c_str(), 0600), 0);
  refused(name, ShareStatus::kCorrupt, "folder");
  name.clear();
  CHECK_EQ(mkfifo(name.path().c_str(), 0600), 0);
  refused(name, ShareStatus::kCorrupt, "not a regular file");
  name.clear();
  CHECK(Region::open(target.text()).region != nullptr);
}

TEST(another_users_region_is_refused) {
  constexpr uid_t kNobody = 65534;
  const RegionName name("owner");
  made(name);
  if (geteuid() != 0) {
    // Only an administrator can give a file away. To this user a file without permissions is like another's.
    check::note("as an ordinary user: a file that may not be opened, instead of one that belongs to another");
    CHECK_EQ(chmod(name.path().c_str(), 0), 0);
    return refused(name, ShareStatus::kForeign, "another user");
  }
  CHECK(check::waitFor(check::spawn([&] {
          CHECK_EQ(setuid(kNobody), 0);
          refused(name, ShareStatus::kForeign, "another user");
        })) == check::End::kFinished);
  CHECK_EQ(chown(name.path().c_str(), kNobody, kNobody), 0);
  refused(name, ShareStatus::kForeign, "user 65534");
  CHECK(Region::remove(name.text(), true).status == ShareStatus::kForeign);
}

// Whatever of this user has the name can be taken away, so that nobody is stuck with it.
TEST(what_is_refused_can_be_removed) {
  const RegionName name("remove");
  const auto goes = [&] {
    CHECK_EQ(Region::remove(name.text(), false).status, ShareStatus::kOk);
    CHECK_EQ(Region::open(name.text()).failure.status, ShareStatus::kNotFound);
  };
  made(name);
  RegionFile(name).changeHeader([](RegionHeader& header) { header.magic = 0; });
  goes();
  made(name);
  RegionFile(name).resize(1);
  goes();
  CHECK_EQ(symlink("/nowhere/at/all", name.path().c_str()), 0);
  goes();
  CHECK_EQ(mkfifo(name.path().c_str(), 0600), 0);
  goes();
}
