#include "common/ring/region.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

namespace qanat::ring {
namespace {

using testing::HasSubstr;

UniqueFd dup_of(int fd) {
    return UniqueFd(::dup(fd));
}

std::string open_error(UniqueFd fd, uint32_t engines) {
    const auto region = Region::open(std::move(fd), engines);
    return region ? std::string() : region.error().message;
}

TEST(Region, CreatesAndOpensTheSameMemory) {
    auto created = Region::create(3);
    ASSERT_TRUE(created) << created.error().message;
    EXPECT_EQ(created->engines(), 3U);
    EXPECT_EQ(created->size(), 4096U + 3U * 2109440U);

    auto opened = Region::open(dup_of(created->fd()), 3);
    ASSERT_TRUE(opened) << opened.error().message;
    created->engine(2).counters.streams_total.store(42);
    EXPECT_EQ(opened->engine(2).counters.streams_total.load(), 42U);
    created->engine(1).events.slots[1023].payload[1007] = 9;
    EXPECT_EQ(opened->engine(1).events.slots[1023].payload[1007], 9);

    EXPECT_EQ(opened->epoch(), 1U);
    EXPECT_EQ(created->advance_epoch(), 2U);
    EXPECT_EQ(opened->epoch(), 2U);
}

TEST(Region, EngineCountHasLimits) {
    EXPECT_FALSE(Region::create(0));
    EXPECT_TRUE(Region::create(1));
    EXPECT_TRUE(Region::create(kEnginesMax));
    EXPECT_FALSE(Region::create(kEnginesMax + 1));
    EXPECT_FALSE(Region::open(UniqueFd(), 1));
    EXPECT_FALSE(Region::open(UniqueFd(), 0));
}

TEST(Region, SizeIsSealedForEveryHolder) {
    const auto region = Region::create(1);
    ASSERT_TRUE(region);
    const UniqueFd received = dup_of(region->fd());
    const auto size = static_cast<off_t>(region->size());
    for (const off_t other : {off_t{0}, size - 1, size + 1}) {
        EXPECT_EQ(::ftruncate(received.get(), other), -1);
        EXPECT_EQ(errno, EPERM);
    }
    EXPECT_EQ(::fcntl(received.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
    EXPECT_EQ(errno, EPERM);
    const int seals = ::fcntl(received.get(), F_GET_SEALS);
    EXPECT_EQ(seals & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    EXPECT_NE(::fcntl(region->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Region, RefusesDescriptorsThatAreNotARegion) {
    EXPECT_THAT(open_error(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), 1), HasSubstr("not a memory file"));
    for (const int seals :
         {0, F_SEAL_SHRINK, F_SEAL_SHRINK | F_SEAL_GROW, F_SEAL_GROW | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_SEAL}) {
        UniqueFd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
        ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(region_size(1))), 0);
        if (seals != 0) {
            ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
        }
        EXPECT_THAT(open_error(std::move(fd), 1), HasSubstr("not sealed"));
    }
    // Sealed against writing by the peer: refused, not a fault later on.
    UniqueFd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(region_size(1))), 0);
    ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), 0);
    EXPECT_THAT(open_error(std::move(fd), 1), HasSubstr("mmap"));
}

TEST(Region, RefusesAWrongSize) {
    const auto region = Region::create(2);
    ASSERT_TRUE(region);
    EXPECT_THAT(open_error(dup_of(region->fd()), 1), HasSubstr("size"));
    EXPECT_THAT(open_error(dup_of(region->fd()), 3), HasSubstr("size"));
    for (const int64_t delta : {-1, 1}) {
        UniqueFd fd(::memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
        ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(region_size(1)) + delta), 0);
        ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        EXPECT_THAT(open_error(std::move(fd), 1), HasSubstr("size"));
    }
}

TEST(Region, RefusesEveryChangedByteOfTheHeader) {
    const auto region = Region::create(1);
    ASSERT_TRUE(region);
    void* address = ::mmap(nullptr, sizeof(RegionHeader), PROT_READ | PROT_WRITE, MAP_SHARED, region->fd(), 0);
    ASSERT_NE(address, MAP_FAILED);
    auto* bytes = static_cast<uint8_t*>(address);
    constexpr size_t kEpoch = offsetof(RegionHeader, epoch);
    for (size_t i = 0; i < sizeof(RegionHeader); i += i < 128 ? 1 : 97) {
        if (i >= kEpoch && i < kEpoch + 8) continue;
        bytes[i] ^= 0x80;
        EXPECT_FALSE(Region::open(dup_of(region->fd()), 1)) << i;
        bytes[i] ^= 0x80;
    }
    bytes[kEpoch] = 0;
    EXPECT_THAT(open_error(dup_of(region->fd()), 1), HasSubstr("epoch"));
    bytes[kEpoch] = 1;
    bytes[offsetof(RegionHeader, abi_version)] += 1;
    EXPECT_THAT(open_error(dup_of(region->fd()), 1), HasSubstr("abi version is 4, expected 3"));
    bytes[offsetof(RegionHeader, abi_version)] -= 1;
    EXPECT_TRUE(Region::open(dup_of(region->fd()), 1));
    ::munmap(address, sizeof(RegionHeader));
}

TEST(Region, MovesWithoutMovingTheMemory) {
    auto first = Region::create(1);
    ASSERT_TRUE(first);
    const EngineSection* section = &first->engine(0);
    Region second = std::move(*first);
    EXPECT_EQ(&second.engine(0), section);
    Region third = Region::create(2).value();
    third = std::move(second);
    EXPECT_EQ(&third.engine(0), section);
    EXPECT_EQ(third.engines(), 1U);
}

TEST(RegionDeathTest, EngineIndexIsChecked) {
    const auto region = Region::create(2);
    ASSERT_TRUE(region);
    EXPECT_DEATH((void)region->engine(2), "broken invariant");
}

}  // namespace
}  // namespace qanat::ring
