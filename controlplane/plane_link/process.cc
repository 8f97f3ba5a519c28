#include "controlplane/plane_link/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "common/ring/bootstrap.h"

namespace qanat::controlplane {
namespace {

constexpr const char* kProgramName = "qanat-dataplane";

std::string own_directory() {
    std::array<char, PATH_MAX> path{};
    const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    if (size <= 0) return ".";
    const std::string text(path.data(), static_cast<size_t>(size));
    const size_t slash = text.rfind('/');
    return slash == std::string::npos ? "." : text.substr(0, slash);
}

std::string describe_exit(const siginfo_t& info) {
    if (info.si_code == CLD_EXITED) return "exit status " + std::to_string(info.si_status);
    const char* name = ::sigdescr_np(info.si_status);
    return "signal " + std::to_string(info.si_status) + " (" + (name != nullptr ? name : "unknown") + ")";
}

// Between fork and exec: async-signal-safe calls only. Returns only if something failed, with errno set.
void become(const char* program, int socket, int report) {
    // The bootstrap socket goes to its place; the pipe must not be in the way.
    if (report == ring::kBootstrapFd) {
        report = ::fcntl(report, F_DUPFD_CLOEXEC, ring::kBootstrapFd + 1);
        if (report < 0) return;
    }
    int failed = 0;
    if (socket == ring::kBootstrapFd) {
        if (::fcntl(socket, F_SETFD, 0) != 0) failed = errno;
    } else if (::dup2(socket, ring::kBootstrapFd) < 0) {
        failed = errno;
    }
    const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) ::dup2(null, STDIN_FILENO);
    ::setsid();
    // libevent's handlers go with exec; the mask and ignored signals would stay.
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGHUP, SIG_IGN);
    if (failed == 0) {
        char name[] = "qanat-dataplane";  // argv is not const
        std::array<char*, 2> argv{name, nullptr};
        ::execv(program, argv.data());
        failed = errno;
    }
    [[maybe_unused]] const ssize_t written = ::write(report, &failed, sizeof failed);
}

}  // namespace

Result<std::string> find_data_plane() {
    const std::string directory = own_directory();
    const std::array<std::string, 4> places{directory, directory + "/../libexec/qanat", "/usr/local/libexec/qanat",
                                            "/usr/libexec/qanat"};
    std::string tried;
    for (const std::string& place : places) {
        const std::string path = place + "/" + kProgramName;
        if (::access(path.c_str(), X_OK) == 0) return path;
        tried += (tried.empty() ? "" : ", ") + path;
    }
    return fail(std::string("cannot find the program ") + kProgramName + " (looked for " + tried +
                "): install it next to qanat");
}

Result<std::unique_ptr<Process>> Process::start(EventLoop& loop, const std::string& program, UniqueFd socket,
                                                Exited exited) {
    // The child reports a failed exec through a pipe that a successful one closes.
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return fail("cannot start " + program + ": " + std::strerror(errno));
    const UniqueFd report_in(pipe[0]);
    UniqueFd report_out(pipe[1]);

    const pid_t pid = ::fork();
    if (pid < 0) return fail("cannot start " + program + ": " + std::strerror(errno));
    if (pid == 0) {
        become(program.c_str(), socket.get(), report_out.get());
        ::_exit(127);
    }
    report_out.reset();
    socket.reset();
    int failed = 0;
    ssize_t size = 0;
    do size = ::read(report_in.get(), &failed, sizeof failed);
    while (size < 0 && errno == EINTR);
    if (size > 0) {
        ::waitpid(pid, nullptr, 0);
        return fail("cannot execute " + program + ": " + std::strerror(failed));
    }
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd) {
        const int error = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return fail(std::string("cannot watch the data plane (pidfd_open): ") + std::strerror(error));
    }
    ::fcntl(pidfd.get(), F_SETFD, FD_CLOEXEC);
    return std::unique_ptr<Process>(new Process(loop, pid, std::move(pidfd), std::move(exited)));
}

Process::Process(EventLoop& loop, pid_t pid, UniqueFd pidfd, Exited exited)
    : pid_(pid), pidfd_(std::move(pidfd)), exited_(std::move(exited)) {
    watch_ =
        std::make_unique<FdWatch>(loop, pidfd_.get(), Readiness{.readable = true}, [this](Readiness) { reap(false); });
}

Process::~Process() {
    watch_.reset();
    if (!running_) return;
    exited_ = nullptr;
    kill();
    reap(true);
}

void Process::kill() {
    if (running_) ::kill(pid_, SIGKILL);  // not reaped yet, so the number is still the child's
}

void Process::reap(bool wait) {
    siginfo_t info{};
    int result = 0;
    do result = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | (wait ? 0 : WNOHANG));
    while (result != 0 && errno == EINTR);
    if (result == 0 && info.si_pid == 0) return;
    running_ = false;
    watch_.reset();
    if (exited_) exited_(info.si_code == CLD_EXITED && info.si_status == 0, describe_exit(info));
}

}  // namespace qanat::controlplane
