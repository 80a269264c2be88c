// The files behind shared regions, as somebody else may have left them.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "core/layout.h"

#include "processes.h"

namespace check {

class RegionFile {
 public:
  explicit RegionFile(const RegionName& name) : file_(::open(name.path().c_str(), O_RDWR | O_CLOEXEC)) {
    CHECK(file_ >= 0);
  }
  ~RegionFile() { close(file_); }
  RegionFile(const RegionFile&) = delete;
  RegionFile& operator=(const RegionFile&) = delete;

  int descriptor() const { return file_; }
  std::size_t bytes() const {
    struct stat facts;
    return fstat(file_, &facts) == 0 ? static_cast<std::size_t>(facts.st_size) : 0;
  }

  sluice::RegionHeader header() const {
    sluice::RegionHeader header;
    CHECK_EQ(pread(file_, &header, sizeof header, 0), sizeof header);
    return header;
  }
  // Changes the header, whose checksum stays right unless it is asked not to.
  template <class Change>
  void changeHeader(Change&& change, bool fixesChecksum = true) {
    sluice::RegionHeader header = this->header();
    change(header);
    if (fixesChecksum) header.checksum = header.computeChecksum();
    CHECK_EQ(pwrite(file_, &header, sizeof header, 0), sizeof header);
  }
  void resize(std::size_t bytes) { CHECK_EQ(ftruncate(file_, static_cast<off_t>(bytes)), 0); }

  std::vector<std::uint64_t> words() const {
    std::vector<std::uint64_t> all(bytes() / 8);
    CHECK_EQ(pread(file_, all.data(), all.size() * 8, 0), all.size() * 8);
    return all;
  }
  void write(const std::vector<std::uint64_t>& words, std::size_t offset) {
    const std::size_t length = words.size() * 8 - offset;
    CHECK_EQ(pwrite(file_, words.data() + offset / 8, length, static_cast<off_t>(offset)), length);
  }

 private:
  int file_;
};

}  // namespace check
