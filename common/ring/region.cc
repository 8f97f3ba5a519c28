#include "common/ring/region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "common/base/assert.h"

namespace qanat::ring {
namespace {

#ifdef MFD_NOEXEC_SEAL
constexpr unsigned kNoExecSeal = MFD_NOEXEC_SEAL;
#else
constexpr unsigned kNoExecSeal = 0x0008U;  // Linux 6.3, newer than Debian 12's headers
#endif
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

[[nodiscard]] tl::unexpected<Error> fail_errno(const char* what, int error) {
    return fail(std::string("ring region: ") + what + ": " + std::generic_category().message(error));
}

// Kernels before 6.3 do not know the flag; later ones may be set up to demand it (vm.memfd_noexec).
UniqueFd make_memfd() {
    UniqueFd fd(::memfd_create("qanat-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal));
    if (!fd && errno == EINVAL) fd.reset(::memfd_create("qanat-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    return fd;
}

void* map(int fd, uint64_t size) {
    void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) return nullptr;
    ::madvise(address, size, MADV_DONTDUMP);  // key material passes through; best effort
    return address;
}

void write_header(RegionHeader& header, uint32_t engines) {
    header.magic = kRegionMagic;
    header.abi_version = kAbiVersion;
    header.header_size = sizeof(RegionHeader);
    header.engines = engines;
    header.region_size = region_size(engines);
    header.section_size = sizeof(EngineSection);
    header.events_offset = offsetof(EngineSection, events);
    header.counters_offset = offsetof(EngineSection, counters);
    header.counters_size = sizeof(EngineCounters);
    header.slots_offset = offsetof(RingSection, slots);
    header.slots = kSlotsPerRing;
    header.slot_size = kSlotSize;
    header.epoch.store(1, std::memory_order_relaxed);
}

// What is wrong with the header, or nothing. Decides only whether to go on: after this the header is not read again.
std::string header_problem(const RegionHeader& header, uint32_t engines) {
    const auto expect = [](const char* field, uint64_t found, uint64_t expected) {
        if (found == expected) return std::string();
        return std::string(field) + " is " + std::to_string(found) + ", expected " + std::to_string(expected);
    };
    for (const std::string& problem : {
             expect("magic", header.magic, kRegionMagic),
             expect("abi version", header.abi_version, kAbiVersion),
             expect("header size", header.header_size, sizeof(RegionHeader)),
             expect("engine count", header.engines, engines),
             expect("region size", header.region_size, region_size(engines)),
             expect("section size", header.section_size, sizeof(EngineSection)),
             expect("events offset", header.events_offset, offsetof(EngineSection, events)),
             expect("counters offset", header.counters_offset, offsetof(EngineSection, counters)),
             expect("counters size", header.counters_size, sizeof(EngineCounters)),
             expect("slots offset", header.slots_offset, offsetof(RingSection, slots)),
             expect("slots", header.slots, kSlotsPerRing),
             expect("slot size", header.slot_size, kSlotSize),
         })
        if (!problem.empty()) return problem;
    if (header.zero != 0) return "unused bytes are not zero";
    for (const uint8_t byte : header.zero2)
        if (byte != 0) return "unused bytes are not zero";
    if (header.epoch.load(std::memory_order_relaxed) == 0) return "epoch is 0";
    return {};
}

}  // namespace

Result<Region> Region::create(uint32_t engines) {
    if (engines == 0 || engines > kEnginesMax) return fail("ring region: engine count must be 1 to 64");
    UniqueFd fd = make_memfd();
    if (!fd) return fail_errno("memfd_create", errno);
    const uint64_t size = region_size(engines);
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_errno("ftruncate", errno);
    if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return fail_errno("cannot seal", errno);
    void* address = map(fd.get(), size);
    if (address == nullptr) return fail_errno("mmap", errno);
    Region region(std::move(fd), address, engines);
    write_header(region.header(), engines);
    return region;
}

Result<Region> Region::open(UniqueFd fd, uint32_t engines) {
    if (engines == 0 || engines > kEnginesMax) return fail("ring region: engine count must be 1 to 64");
    // Seals first: without them the size that fstat() reports could change after it was checked.
    const int seals = ::fcntl(fd.get(), F_GET_SEALS);
    if (seals < 0) return fail_errno("not a memory file", errno);
    if ((seals & kSeals) != kSeals) return fail("ring region: the size is not sealed");
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return fail_errno("fstat", errno);
    const uint64_t size = region_size(engines);
    if (std::cmp_not_equal(status.st_size, size))
        return fail("ring region: size is " + std::to_string(status.st_size) + " bytes, expected " +
                    std::to_string(size) + " for " + std::to_string(engines) + " engines");
    void* address = map(fd.get(), size);
    if (address == nullptr) return fail_errno("mmap", errno);
    Region region(std::move(fd), address, engines);
    if (const std::string problem = header_problem(region.header(), engines); !problem.empty())
        return fail("ring region: " + problem);
    return region;
}

Region::Region(Region&& other) noexcept
    : fd_(std::move(other.fd_)),
      address_(std::exchange(other.address_, nullptr)),
      engines_(std::exchange(other.engines_, 0)) {}

Region& Region::operator=(Region&& other) noexcept {
    if (this != &other) {
        unmap();
        fd_ = std::move(other.fd_);
        address_ = std::exchange(other.address_, nullptr);
        engines_ = std::exchange(other.engines_, 0);
    }
    return *this;
}

EngineSection& Region::engine(uint32_t index) const {
    QANAT_ASSERT(index < engines_);
    auto* sections =
        static_cast<EngineSection*>(static_cast<void*>(static_cast<uint8_t*>(address_) + sizeof(RegionHeader)));
    return sections[index];
}

uint64_t Region::epoch() const {
    return header().epoch.load(std::memory_order_acquire);
}

uint64_t Region::advance_epoch() {
    // The data plane alone writes it: no locked instruction needed.
    const uint64_t next = header().epoch.load(std::memory_order_relaxed) + 1;
    header().epoch.store(next, std::memory_order_release);
    return next;
}

RegionHeader& Region::header() const {
    QANAT_ASSERT(address_ != nullptr);
    return *static_cast<RegionHeader*>(address_);
}

void Region::unmap() {
    if (address_ != nullptr) ::munmap(address_, region_size(engines_));
    address_ = nullptr;
}

}  // namespace qanat::ring
