// Reservations: a node's connections that wait at relays, for clients that reach it through them (OFFER, PROTOCOL.md
// section 6.2). It tells the engines which relays to offer connections to, and knows from them how that goes. The
// sessions with the relays are ClientDriver's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/handshake/key_pair.h"
#include "common/ring/messages.h"
#include "controlplane/plane_link/command_port.h"

namespace qanat::controlplane {

class Reservations {
public:
    // Connections that one engine keeps at one relay: as many as a burst of new streams takes before others are there,
    // up to what demand asks for.
    static constexpr uint16_t kMinimum = 2;
    static constexpr uint16_t kMaximum = 64;

    enum class State : uint8_t {
        connecting,  // no session with the relay
        waiting,     // the engines are at it
        reserved,    // connections wait there
        refused,     // the relay said no
        failed,      // no connection to the relay succeeds
    };
    [[nodiscard]] static std::string_view name_of(State state);

    struct Relay {
        uint32_t number = 0;
        PublicKey id{};
        std::optional<wire::Endpoint> address;  // of the session that lives, if one does
    };
    struct View {
        uint32_t number = 0;
        PublicKey id{};
        State state = State::connecting;
        uint64_t parked = 0;  // connections that wait there now, of all engines
        uint64_t taken = 0;   // streams that came through it
        std::string error;    // why not, for people; empty if nothing is wrong
    };

    // `port` outlives the object.
    explicit Reservations(CommandPort& port) : port_(port) {}

    // All relays that connections are to wait at, whatever their state; called whenever it may have changed. Offers to
    // the ones that are up; takes the offers back from those that are not named any more.
    void update(std::span<const Relay> relays);
    void on_state(uint32_t engine, const ring::OfferState& state);
    // Shutdown: takes all offers back, and makes none again.
    void stop();
    // The data plane ended.
    void reset();

    [[nodiscard]] std::vector<View> views() const;

private:
    struct Share {  // of one engine
        uint32_t parked = 0;
        uint64_t taken = 0;
        int32_t error = 0;
        uint8_t status = 0;
    };
    struct Entry {
        PublicKey id{};
        std::optional<wire::Endpoint> address{};
        std::map<uint32_t, Share> shares{};  // by engine
        State logged = State::connecting;
        std::string logged_error{};
    };

    void offer(uint32_t number, const wire::Endpoint& address, uint16_t minimum, uint16_t maximum);
    void log_change(uint32_t number, Entry& entry);
    [[nodiscard]] static View view(uint32_t number, const Entry& entry);

    CommandPort& port_;
    std::map<uint32_t, Entry> entries_;  // by number
    bool stopped_ = false;
};

}  // namespace qanat::controlplane
