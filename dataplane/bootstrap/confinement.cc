#include "dataplane/bootstrap/confinement.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace qanat::dataplane {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArchitecture = 0;
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Allowed whatever the arguments are.
constexpr std::array kAllowed{
    // readiness, and bytes
    SYS_io_uring_enter, SYS_recvfrom, SYS_sendto, SYS_readv, SYS_sendmsg, SYS_read, SYS_write, SYS_writev,
    // connections
    SYS_connect, SYS_bind, SYS_listen, SYS_accept4, SYS_shutdown, SYS_close, SYS_getsockname, SYS_getpeername,
    SYS_getsockopt, SYS_setsockopt,
    // connections from other engines, with their descriptors
    SYS_recvmsg,
    // time, randomness, the reserve descriptor
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_getrandom, SYS_eventfd2,
    // threads and memory of the C library
    SYS_futex, SYS_munmap, SYS_madvise, SYS_mremap, SYS_brk, SYS_sched_yield, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_restart_syscall, SYS_exit, SYS_exit_group,
    // abort()
    SYS_getpid, SYS_gettid, SYS_tgkill, SYS_rt_sigaction};

class Program {
public:
    Program() {
        load(offsetof(seccomp_data, arch));
        // A call made in another ABI means another system call: none is allowed.
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0));
        refuse();
        load(offsetof(seccomp_data, nr));
    }
    void allow(long call) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
        code_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    // socket(2), only for these families.
    void allow_sockets(uint32_t family, uint32_t other_family) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(SYS_socket), 0, 5));
        load(argument(0));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, family, 1, 0));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other_family, 0, 1));
        code_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        refuse();
    }
    // splice(2), only with these flags and without offsets: from a socket to a pipe or back, never within a file.
    void allow_splice(uint32_t flags) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(SYS_splice), 0, 5 * 3 + 1));
        const auto require = [&](uint32_t offset, uint32_t value) {
            load(offset);
            code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
            refuse();
        };
        for (const size_t pointer : {1u, 3u}) {
            require(argument(pointer), 0);
            require(argument(pointer) + kHighHalf, 0);
        }
        require(argument(5), flags);
        code_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    // mmap and mprotect, but nothing executable: their third argument is the protection.
    void allow_unless_executable(long call) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 4));
        load(argument(2));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0));
        code_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        refuse();
    }
    [[nodiscard]] sock_fprog finish() {
        refuse();
        return {.len = static_cast<unsigned short>(code_.size()), .filter = code_.data()};
    }

private:
    // The low half of an argument: enough for all values compared here but pointers.
    static constexpr uint32_t argument(size_t index) {
        static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
        return static_cast<uint32_t>(offsetof(seccomp_data, args) + index * sizeof(uint64_t));
    }
    static constexpr uint32_t kHighHalf = sizeof(uint32_t);
    void load(size_t offset) { code_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset))); }
    void refuse() { code_.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)); }

    std::vector<sock_filter> code_;
};

}  // namespace

Result<bool> confine_thread() {
    if (kArchitecture == 0 || kSanitized) return false;
    Program program;
    for (const long call : kAllowed) program.allow(call);
    program.allow_sockets(AF_INET, AF_INET6);
    program.allow_splice(SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    program.allow_unless_executable(SYS_mmap);
    program.allow_unless_executable(SYS_mprotect);
    const sock_fprog filter = program.finish();
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return fail(std::string("the system call filter cannot be installed: ") + std::strerror(errno) +
                    ": the kernel needs CONFIG_SECCOMP_FILTER");
    return true;
}

}  // namespace qanat::dataplane
