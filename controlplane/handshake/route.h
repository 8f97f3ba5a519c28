// Route: a path as it is dialled: where the first connection goes, and what each relay is told.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/ring/messages.h"
#include "common/wire/address.h"

namespace qanat::controlplane {

struct Route {
    wire::Endpoint dial;         // the first relay, or the node itself
    std::vector<ring::Via> via;  // in order; at most ring::kViaMax
};

// What an attempt asks about the relays of a path.
class RelayView {
public:
    enum class State : uint8_t {
        ready,    // `route` is good now
        waiting,  // for a relay that is being connected; relays_changed() follows
        failed,   // see `reason`
    };
    struct Answer {
        State state = State::failed;
        Route route{};
        std::string reason{};  // one line for a person
    };

    virtual ~RelayView() = default;

    // The route over these relays to a node that the last of them finds at `node`; without an address: that holds a
    // reservation there.
    [[nodiscard]] virtual Answer route(std::span<const uint32_t> via,
                                       const std::optional<wire::Endpoint>& node) const = 0;
    // "ID (address)" of a relay, for people.
    [[nodiscard]] virtual std::string describe(uint32_t node) const = 0;
};

// "direct", or "via ID (address) → ID (address)", for people.
[[nodiscard]] std::string describe_path(const RelayView& relays, std::span<const uint32_t> via);

}  // namespace qanat::controlplane
