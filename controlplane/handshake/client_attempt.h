// ClientAttempt: one try to open a session with one node: its paths in order and the addresses of each, for each a
// control connection and a handshake, until one succeeds or none is left. A path over a relay that is still being
// connected waits for it. No timers: the owner calls tick() at deadline().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/handshake/session_client.h"
#include "controlplane/config/config.h"
#include "controlplane/handshake/control_channel.h"
#include "controlplane/handshake/route.h"
#include "controlplane/plane_link/command_port.h"
#include "controlplane/routing/node_spec.h"

namespace qanat::controlplane {

using RandomBytes = std::function<void(MutableBytes)>;
// For tokens and jitter.
[[nodiscard]] uint64_t draw_u64(const RandomBytes& random);

// Looks a node's host name up; calls back once, possibly at once. An error is one line for a person.
using NodeLookup = std::function<void(const std::string& name, NameFamily family,
                                      std::function<void(Result<std::vector<wire::IpAddress>>)> done)>;

// What every attempt of this client has in common.
struct ClientCredentials {
    Identity identity;
    crypto::NetworkKeys network_key;
    std::vector<crypto::Suite> suites;
    uint32_t capabilities = 0;
    handshake::BootId boot_id{};
};

// A session that has just been agreed, and the connection that carries its control records.
struct OpenedSession {
    handshake::ClientSession session;
    std::unique_ptr<ControlChannel> channel;
    NodePath path;                          // the one that it took
    std::optional<NodeAddress> target;      // of the path's addresses; none: it was reached by a reservation
    std::optional<wire::Endpoint> address;  // the same, looked up
    uint32_t engine = 0;
    uint64_t connection = 0;
    ControlChannel::Input first_input;  // control records that came together with MSG2
};

class ClientAttempt {
public:
    struct Handlers {
        // Exactly one of these is called, once; the owner may destroy the attempt only afterwards (not from inside).
        std::function<void(OpenedSession, Instant now)> on_opened;
        std::function<void(std::string reason, Instant now)> on_failed;
        // Before that, for each path that was tried in vain.
        std::function<void(const NodePath& path, Instant now)> on_path_failed;
    };

    // What attempts of one owner share; all of it outlives them.
    struct Context {
        CommandPort& port;
        const ClientCredentials& credentials;
        const RandomBytes& random;
        const NodeLookup& lookup;
        const RelayView& relays;
        uint64_t& next_connection;  // counted up
    };

    // A name may have many addresses; trying them all would take minutes.
    static constexpr size_t kAddressesPerNameMax = 4;

    // `timeout` is for one address, and for the relays of one path. Connection numbers are
    // kOutgoingConnectionBit | `connection_prefix` | the next of the context's.
    ClientAttempt(const Context& context, const PublicKey& node, std::vector<NodePath> paths, Duration timeout,
                  uint32_t engine, uint64_t connection_prefix, Handlers handlers);
    // Closes a connection that is still open.
    ~ClientAttempt();
    ClientAttempt(const ClientAttempt&) = delete;
    ClientAttempt& operator=(const ClientAttempt&) = delete;

    void start(Instant now);
    // The data plane and its connections are gone: nothing is to be closed.
    void abandon() { connection_ = 0; }

    // 0: no connection now.
    [[nodiscard]] uint64_t connection() const { return connection_; }
    void on_opened(const ring::ControlOpened& event, Instant now);
    void on_data(Bytes bytes, Instant now);
    void on_closed(Instant now);
    // What RelayView says may be different now.
    void relays_changed(Instant now);
    void tick(Instant now);
    [[nodiscard]] std::optional<Instant> deadline() const { return deadline_; }

    // The address that is being tried, or was last.
    [[nodiscard]] const std::optional<wire::Endpoint>& address() const { return address_; }

private:
    void try_next(Instant now);
    void try_next_path(Instant now);
    void connect(const std::optional<wire::Endpoint>& address, Instant now);
    void dial(const Route& route, Instant now);
    [[nodiscard]] std::string where() const;
    void send(Bytes bytes);
    void close();
    void next_after(std::string error, Instant now);
    void succeed(Bytes rest, Instant now);

    Context context_;
    PublicKey node_;
    std::deque<NodePath> paths_;  // the first one is being tried
    bool path_begun_ = false;
    std::deque<NodeAddress> untried_;    // of that path
    std::optional<NodeAddress> target_;  // that is being tried
    std::deque<wire::Endpoint> resolved_;
    Duration timeout_;
    uint32_t engine_;
    uint64_t connection_prefix_;
    Handlers handlers_;

    uint64_t connection_ = 0;
    std::optional<wire::Endpoint> address_;
    std::optional<handshake::ClientHandshake> handshake_;
    std::optional<Instant> deadline_;
    std::string last_error_ = "the node has no address";
    bool waiting_ = false;  // for a relay
    bool done_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for lookups
};

}  // namespace qanat::controlplane
