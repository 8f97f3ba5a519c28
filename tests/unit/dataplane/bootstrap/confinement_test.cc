#include "dataplane/bootstrap/confinement.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
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

TEST(Confinement, LeavesSplicingThroughPipesMadeBefore) {
    int sockets[2];
    int pipe[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets), 0);
    ASSERT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
    ASSERT_EQ(::write(sockets[0], "text", 4), 4);
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    std::thread([&] {
        const auto confined = confine_thread();
        ASSERT_TRUE(confined) << confined.error().message;
        constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
        EXPECT_EQ(::splice(sockets[1], nullptr, pipe[1], nullptr, 4, kFlags), 4);
        EXPECT_EQ(::splice(pipe[0], nullptr, sockets[1], nullptr, 4, kFlags), 4);
        if (!*confined) return;

        for (const unsigned flags : {0u, unsigned{SPLICE_F_NONBLOCK}, kFlags | SPLICE_F_MORE}) {
            EXPECT_EQ(::splice(sockets[0], nullptr, pipe[1], nullptr, 4, flags), -1) << flags;
            EXPECT_EQ(errno, EPERM) << flags;
        }
        // The kernel would answer ESPIPE.
        loff_t offset = 0;
        EXPECT_EQ(::splice(sockets[0], &offset, pipe[1], nullptr, 4, kFlags), -1);
        EXPECT_EQ(errno, EPERM);
        EXPECT_EQ(::splice(sockets[0], nullptr, pipe[1], &offset, 4, kFlags), -1);
        EXPECT_EQ(errno, EPERM);
        // A pointer whose low half is zero is an offset too.
        auto* const high = reinterpret_cast<loff_t*>(uintptr_t{1} << 32);
        EXPECT_EQ(::splice(sockets[0], high, pipe[1], nullptr, 4, kFlags), -1);
        EXPECT_EQ(errno, EPERM);
        EXPECT_EQ(::splice(sockets[0], nullptr, pipe[1], high, 4, kFlags), -1);
        EXPECT_EQ(errno, EPERM);
        int more[2];
        EXPECT_EQ(::pipe2(more, O_CLOEXEC), -1);
        EXPECT_EQ(errno, EPERM);
    }).join();
    for (const int fd : {sockets[0], sockets[1], pipe[0], pipe[1]}) ::close(fd);
}

}  // namespace
}  // namespace qanat::dataplane
