// Region: the memory file between the planes, mapped. The data plane creates it, the control plane opens the
// descriptor that it was handed.
#pragma once

#include <cstdint>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/ring/layout.h"

namespace qanat::ring {

// Owns the descriptor and the mapping; both end with it, and with them every reference it gave out.
// Moving a Region does not move the memory.
class Region {
public:
    // A fresh region for 1 … kEnginesMax engines: everything zero but the header, epoch 1. Its size is sealed, so that
    // no holder of the descriptor can cut it and turn our next access into SIGBUS.
    [[nodiscard]] static Result<Region> create(uint32_t engines);

    // Maps a region that the other plane made. Refused unless size and seals are final and the header is, field by
    // field, the one this program would have written for `engines` engines.
    [[nodiscard]] static Result<Region> open(UniqueFd fd, uint32_t engines);

    ~Region() { unmap(); }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;
    Region(Region&& other) noexcept;
    Region& operator=(Region&& other) noexcept;

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] uint32_t engines() const { return engines_; }
    [[nodiscard]] uint64_t size() const { return region_size(engines_); }

    // The section of one engine, index < engines(): .commands, .events, .counters.
    [[nodiscard]] EngineSection& engine(uint32_t index) const;

    // Which control plane the region serves: 1 the first, 2 the one that attached after it, … advance_epoch() belongs
    // to the data plane, before it answers an attach; it returns the new epoch.
    [[nodiscard]] uint64_t epoch() const;
    uint64_t advance_epoch();

private:
    Region(UniqueFd fd, void* address, uint32_t engines) : fd_(std::move(fd)), address_(address), engines_(engines) {}
    [[nodiscard]] RegionHeader& header() const;
    void unmap();

    UniqueFd fd_;
    void* address_ = nullptr;
    uint32_t engines_ = 0;  // private: the copy in the header is never read again
};

}  // namespace qanat::ring
