#include "dataplane/bootstrap/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace qanat::dataplane {
namespace {

tl::unexpected<Error> failed(const std::string& what) {
    return fail(what + ": " + std::strerror(errno));
}

// capset(2) without libcap: one capability, permitted and effective.
bool keep_only(unsigned capability) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> data{};
    data[capability / 32].effective = data[capability / 32].permitted = 1U << (capability % 32);
    return ::syscall(SYS_capset, &header, data.data()) == 0;
}

Result<void> become(const std::string& user) {
    const passwd* entry = ::getpwnam(user.c_str());
    if (entry == nullptr)
        return fail("the user '" + user + "' does not exist: create it (useradd --system " + user + ")");
    if (::prctl(PR_SET_KEEPCAPS, 1) != 0) return failed("prctl(PR_SET_KEEPCAPS)");
    if (::setgroups(0, nullptr) != 0) return failed("setgroups");
    if (::setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0) return failed("setresgid");
    if (::setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0) return failed("setresuid");
    if (!keep_only(CAP_NET_BIND_SERVICE)) return failed("capset");
    return {};
}

}  // namespace

Result<void> drop_privileges(std::string_view user) {
    if (::geteuid() == 0 && !user.empty()) {
        if (auto became = become(std::string(user)); !became) return became;
    }
    const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
    (void)::setrlimit(RLIMIT_CORE, &no_core);
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("prctl(PR_SET_NO_NEW_PRIVS)");
    if (::prctl(PR_SET_DUMPABLE, 0) != 0) return failed("prctl(PR_SET_DUMPABLE)");
    return {};
}

}  // namespace qanat::dataplane
