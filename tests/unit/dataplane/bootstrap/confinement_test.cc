#include "dataplane/bootstrap/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace qanat::dataplane {
namespace {

TEST(Confinement, LeavesWhatMovesBytesAndNothingElse) {
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    // The filter stays with its thread.
    std::thread([] {
        const auto confined = confine_thread();
        ASSERT_TRUE(confined) << confined.error().message;
        if (!*confined) return;  // under a sanitizer, or on another architecture

        for (const int family : {AF_INET, AF_INET6}) {
            const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
            EXPECT_GE(fd, 0) << family;
            ::close(fd);
        }
        for (const int family : {AF_UNIX, AF_NETLINK, AF_PACKET}) {
            EXPECT_EQ(::socket(family, SOCK_DGRAM, 0), -1) << family;
            EXPECT_EQ(errno, EPERM) << family;
        }
        EXPECT_EQ(::open("/etc/hostname", O_RDONLY), -1);
        EXPECT_EQ(errno, EPERM);
        EXPECT_EQ(::execl("/bin/true", "true", nullptr), -1);
        EXPECT_EQ(errno, EPERM);

        void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(page, MAP_FAILED);
        EXPECT_EQ(::mprotect(page, 4096, PROT_READ | PROT_EXEC), -1);
        EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
        ::munmap(page, 4096);
    }).join();
    const int fd = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    EXPECT_GE(fd, 0);
    ::close(fd);
}

}  // namespace
}  // namespace qanat::dataplane
