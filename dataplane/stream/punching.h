// Punching: TCP connections between a client and a node that are both behind NATs, opened by both of them at the same
// moment (PROTOCOL.md section 6.3). The steps are the same on either side:
//
//   a port of its own → OBSERVE at a relay: how do you see it? → PunchObserved → PunchPeer: where the other side is →
//   connect from the same port, for some seconds
//
// A NAT that maps a port to the same outer port whoever it talks to lets that through; from one that does not the tries
// come to nothing. Whom to connect to is the control plane's decision. What is made on a client goes to its
// PunchedPool; on a node it is a connection as if accepted.
#pragma once

#include <array>
#include <functional>

#include "common/ring/messages.h"
#include "dataplane/engine/slab.h"
#include "dataplane/stream/services.h"
#include "dataplane/tunnel/observation.h"

namespace qanat::dataplane {

enum class PunchFailure : uint8_t {
    in_vain,     // no connection came about
    not_now,     // the other side is busy, or this one
    impossible,  // the other side or the relay does not do it, or not from here to there
};

class Punching {
public:
    // Each costs two sockets for some seconds.
    static constexpr uint32_t kMax = 16;

    struct Hooks {
        // Client: a connection to `node` stands; it was begun at `begun_ns`. Or it does not.
        std::function<void(uint32_t node, UniqueFd fd, uint64_t begun_ns)> on_punched;
        std::function<void(uint32_t node, PunchFailure why)> on_failed;
        // Node: a connection stands; the client will speak first.
        std::function<void(UniqueFd fd)> accept;
    };

    Punching(EngineServices& services, Hooks hooks) : services_(services), hooks_(std::move(hooks)), punches_(kMax) {}

    // Client: for a connection to `node`, seen by this relay. False: not now, and no hook is called.
    [[nodiscard]] bool begin(uint32_t node, uint32_t relay, const ring::RingEndpoint& relay_address);
    // Node: on behalf of the control plane.
    void apply(const ring::Punch& command);
    void apply(const ring::PunchPeer& command);
    // No hook is called.
    void end_all();

    void on_ready(const Completion& completion);
    void on_timer(Timer& timer);

private:
    enum class Stage : uint8_t {
        connecting,  // to the relay
        observing,   // asked it
        waiting,     // for PunchPeer
        delaying,    // the other side's answer is still on its way
        dialing,     // a connection is being tried
        pausing,     // … was refused: again in a moment
        over,        // waits for its last completion
    };
    struct Punch {
        Timer timer;
        Stage stage = Stage::connecting;
        bool armed = false;
        uint8_t try_no = 0;  // tells operations on a socket that was left from current ones
        uint32_t in_flight = 0;
        uint64_t id = 0;
        uint32_t node = 0;   // client
        uint32_t relay = 0;  // its number
        uint64_t begun_ns = 0;
        uint64_t give_up_ns = 0;
        UniqueFd probe;   // to the relay: the NAT keeps the port's mapping for it
        UniqueFd direct;  // to the other side
        wire::Endpoint peer{};
        Observation observation;
        std::array<uint8_t, Observation::kAnswerMax> answer;
        size_t answer_size = 0;
    };

    [[nodiscard]] static bool by_client(const Punch& punch) { return (punch.id & ring::kClientPunchBit) != 0; }
    [[nodiscard]] Punch* find(uint64_t id);
    // 0, or why it could not be begun.
    [[nodiscard]] int start(uint64_t id, uint32_t node, uint32_t relay, const ring::RingEndpoint& relay_address);
    [[nodiscard]] Token token(const Punch& punch) const;
    void arm(Punch& punch, int fd, uint32_t events);
    void ask(Punch& punch);
    void read_answer(Punch& punch);
    void dial(Punch& punch);
    void succeed(Punch& punch);
    void fail(Punch& punch, PunchFailure why, int error);
    void end(Punch& punch);
    void report(uint64_t id, uint32_t node, int error, const wire::Endpoint& observed = {});

    EngineServices& services_;
    Hooks hooks_;
    Slab<Punch> punches_;
};

}  // namespace qanat::dataplane
