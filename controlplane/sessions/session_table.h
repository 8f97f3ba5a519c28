// SessionTable: the sessions a node has given out (PROTOCOL.md 3.1 to 3.3). Pure: it decides which session may exist
// until when; the owner installs and removes them in the data plane.
//
// A session is provisional until its client has proved that it holds the keys. It ends after 30 s if it never does, at
// the end of its lifetime, or 60 s after its control connection closed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/crypto/suite.h"
#include "common/handshake/key_pair.h"
#include "common/wire/address.h"
#include "controlplane/loop/event_loop.h"

namespace qanat::controlplane {

// Where a session comes from, for people.
struct SessionOrigin {
    wire::Endpoint peer{};  // of the handshake
    crypto::Suite suite = crypto::Suite::aes_128_gcm;
};

// The peer of a control connection that came over a relay is no address (ring::ControlAccepted).
[[nodiscard]] inline bool came_over_relay(const wire::Endpoint& peer) {
    return peer.port == 0;
}

class SessionTable {
public:
    static constexpr Duration kProvisionalTime = std::chrono::seconds(30);
    static constexpr Duration kTimeAfterClose = std::chrono::seconds(60);
    static constexpr size_t kProvisionalPerKey = 2;
    static constexpr size_t kSessionsPerKey = 64;
    // A provisional session younger than this is never ended to make room: its first record may be on its way.
    static constexpr Duration kUntouchableTime = std::chrono::seconds(2);

    struct View {
        PublicKey client{};
        SessionOrigin origin{};
        Instant made{};
        bool confirmed = false;
        bool control_open = true;
    };

    explicit SessionTable(size_t sessions_max) : sessions_max_(sessions_max) {}

    // Makes room for one more session of `client`. nullopt: too many sessions. Otherwise the sessions that ended for
    // it, which are gone from the table. Provisional sessions only ever make room for each other or go first; a
    // confirmed session with an open control connection is never ended.
    [[nodiscard]] std::optional<std::vector<uint64_t>> make_room(const PublicKey& client, Instant now);

    // A provisional session. `session_id` is new; make_room() said yes.
    void insert(uint64_t session_id, const PublicKey& client, Instant now, Duration lifetime,
                const SessionOrigin& origin = {});

    // The client has proved itself. False if there is no such session (any more).
    bool confirm(uint64_t session_id);
    void control_closed(uint64_t session_id, Instant now);

    // Takes out the sessions whose time has come.
    [[nodiscard]] std::vector<uint64_t> expire(Instant now);
    // Takes out all.
    [[nodiscard]] std::vector<uint64_t> clear();

    [[nodiscard]] size_t size() const { return sessions_.size(); }
    [[nodiscard]] size_t provisional() const { return provisional_; }
    [[nodiscard]] size_t sessions_max() const { return sessions_max_; }
    [[nodiscard]] bool contains(uint64_t session_id) const { return sessions_.contains(session_id); }
    // True while this client has a confirmed session whose control connection is open.
    [[nodiscard]] bool is_here(const PublicKey& client) const;
    // All sessions, those of one client together, oldest first.
    [[nodiscard]] std::vector<View> views() const;

private:
    struct Session : View {
        Instant lifetime_end{};
        Instant end{};
    };

    void set_end(uint64_t session_id, Session& session, Instant end);
    void remove(uint64_t session_id);
    [[nodiscard]] std::optional<uint64_t> oldest(const std::vector<uint64_t>& ids, bool confirmed) const;
    [[nodiscard]] std::optional<uint64_t> dispensable(Instant now) const;

    size_t sessions_max_;
    size_t provisional_ = 0;
    std::unordered_map<uint64_t, Session> sessions_;
    std::set<std::pair<Instant, uint64_t>> by_end_;
    std::map<PublicKey, std::vector<uint64_t>> by_client_;  // in the order of insertion
};

}  // namespace qanat::controlplane
