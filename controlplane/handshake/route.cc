#include "controlplane/handshake/route.h"

namespace qanat::controlplane {

std::string describe_path(const RelayView& relays, std::span<const uint32_t> via) {
    if (via.empty()) return "direct";
    std::string text;
    for (const uint32_t relay : via) text += (text.empty() ? "via " : " → ") + relays.describe(relay);
    return text;
}

}  // namespace qanat::controlplane
