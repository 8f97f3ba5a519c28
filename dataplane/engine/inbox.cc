#include "dataplane/engine/inbox.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "common/base/assert.h"

namespace qanat::dataplane {
namespace {

// As much as an unprivileged process gets; the kernel cuts it.
constexpr int kInboxBytes = 1024 * 1024;

union OneDescriptor {
    cmsghdr align;
    std::array<char, CMSG_SPACE(sizeof(int))> bytes;
};

}  // namespace

Result<Inboxes> Inboxes::make(uint32_t engines) {
    Inboxes inboxes;
    for (uint32_t i = 0; i < engines; ++i) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
            return fail(std::string("socketpair for an engine's inbox: ") + std::strerror(errno));
        inboxes.receive_ends.emplace_back(ends[0]);
        inboxes.send_ends.emplace_back(ends[1]);
        (void)::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &kInboxBytes, sizeof kInboxBytes);
    }
    return inboxes;
}

bool send_packet(int inbox, Bytes packet, int descriptor) {
    QANAT_ASSERT(!packet.empty() && packet.size() <= kInboxPacketMax);
    iovec data{const_cast<uint8_t*>(packet.data()), packet.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    OneDescriptor control{};
    if (descriptor >= 0) {
        message.msg_control = control.bytes.data();
        message.msg_controllen = control.bytes.size();
        cmsghdr* rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof descriptor);
        std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    return std::cmp_equal(::sendmsg(inbox, &message, MSG_DONTWAIT | MSG_NOSIGNAL), packet.size());
}

Received receive_packet(int inbox, MutableBytes into) {
    iovec data{into.data(), into.size()};
    OneDescriptor control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const ssize_t size = ::recvmsg(inbox, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size <= 0) return {};
    Received received{.packet = into.first(static_cast<size_t>(size)), .descriptor = UniqueFd()};
    const cmsghdr* rights = CMSG_FIRSTHDR(&message);
    if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
        rights->cmsg_len == CMSG_LEN(sizeof(int))) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(rights), sizeof descriptor);
        received.descriptor.reset(descriptor);
    }
    return received;
}

}  // namespace qanat::dataplane
