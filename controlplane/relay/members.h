// Members: a relay's answer to "a stream is to go to that member: where is it?" (MemberWanted; PROTOCOL.md section 6).
// Pure: time and randomness are arguments, and what is to be known from outside is asked through functions.
//
//   is a relay of ours that is up          → reachable there
//   was met, and the session lives         → reachable there
//   no hint, and it has a session here     → reserved: it offers connections, wait for one
//   an address is known, or hinted         → verify: a session handshake there has to prove that it is this member
//   nothing                                → unknown
//
// A verification is a node of the ClientDriver (targets()); the owner reports how it goes. Its session is kept while
// somebody asks for the member. What fails is not tried again for a while, with back-off.
//
// The failure of an address that only a hint names, and that never proved to be a member's, is told when kHintTime is
// over and not before: otherwise a member could look through a relay which ports are open behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "common/ring/messages.h"
#include "controlplane/handshake/admission.h"
#include "controlplane/loop/backoff.h"
#include "controlplane/routing/node_spec.h"

namespace qanat::controlplane {

class Members {
public:
    static constexpr Duration kHintTime = std::chrono::seconds(3);     // to verify a hint
    static constexpr Duration kAddressTime = std::chrono::seconds(5);  // for each address of a known member
    static constexpr Duration kIdleTime = std::chrono::minutes(10);    // a session that nobody asked for goes
    static constexpr Duration kBackoffMin = std::chrono::seconds(10);  // a wait is between a half of this and the whole
    static constexpr Duration kBackoffMax = std::chrono::minutes(5);
    static constexpr double kVerificationsPerSecond = 20;
    static constexpr double kVerificationsBurst = 40;
    static constexpr size_t kVerifyingMax = 64;  // at the same time
    static constexpr size_t kHintsPerMember = 4;
    static constexpr size_t kMetMax = 384;       // members that are reachable now
    static constexpr size_t kEntriesMax = 4096;  // with those that failed lately
    static constexpr size_t kQuestionsMax = 4096;
    // The numbers of members in the rings; relays have the ones below.
    static constexpr uint32_t kFirstNumber = 1024;

    // What the rest of the node knows. Called from inside ask() and report().
    struct Services {
        std::function<bool(const PublicKey&)> has_session_here;
        std::function<std::optional<wire::Endpoint>(const PublicKey&)> relay_address;  // of a relay of ours that is up
        std::function<std::vector<NodeAddress>(const PublicKey&)> known_addresses;     // configured or discovered
        std::function<bool(const wire::Endpoint&)> may_dial_hint;
        std::function<void(uint32_t engine, const ring::MemberResult&)> answer;
        Callback targets_changed;  // what targets() says is different now
        std::function<uint64_t()> random;
    };

    Members(const PublicKey& own_id, Services services, Instant now);

    void ask(uint32_t engine, const ring::MemberWanted& question, Instant now);

    // Whom to have a session with, and where: for ClientDriver, with at most kAddressTime for each address.
    [[nodiscard]] std::vector<NodeSpec> targets() const;
    // How that goes: called whenever it may have changed. `met`: the address of the session that lives, if one does.
    // `failed`: an attempt has failed.
    void report(uint32_t number, const std::optional<wire::Endpoint>& met, bool failed, Instant now);

    // Once a second or so.
    void tick(Instant now);

    // The data plane ended, and all sessions and questions with it.
    void reset();

    [[nodiscard]] size_t reachable() const { return count(State::met); }
    [[nodiscard]] size_t verifying() const { return count(State::verifying); }
    struct Counts {
        uint64_t questions = 0;
        uint64_t reachable = 0;
        uint64_t reserved = 0;
        uint64_t unknown = 0;
        uint64_t busy = 0;
    };
    [[nodiscard]] const Counts& counts() const { return counts_; }

private:
    // A known member has one entry, without hint; an unknown one an entry per address that it is said to be at, so that
    // a wrong hint does not stand in the way of a right one.
    using Key = std::pair<PublicKey, std::optional<wire::Endpoint>>;
    enum class State : uint8_t { verifying, met, failed };
    struct Question {
        uint32_t engine = 0;
        uint64_t query = 0;
    };
    struct Entry {
        uint32_t number = 0;
        std::vector<NodeAddress> addresses;
        State state = State::verifying;
        bool was_met = false;  // at this address, since the entry began
        bool over = false;     // verifying: has failed, and waits for the time to say so
        Instant until{};       // verifying: its end; met: when it is idle; failed: the next try may begin
        wire::Endpoint address{};
        std::vector<Question> waiting{};
        Backoff backoff{kBackoffMin, kBackoffMax};
    };
    using Entries = std::map<Key, Entry>;

    [[nodiscard]] Entry* met_entry(const PublicKey& id);
    [[nodiscard]] bool may_verify(const PublicKey& id, Instant now);
    static void verify(const Key& key, Entry& entry, Instant now);
    void fail_entry(Entries::iterator at, Instant now);
    void answer(const Question& question, ring::MemberStatus status, const wire::Endpoint& address = {});
    [[nodiscard]] ring::MemberStatus without_address(const PublicKey& id) const;
    [[nodiscard]] bool make_room(Instant now);
    [[nodiscard]] uint32_t next_number();
    [[nodiscard]] size_t count(State state) const;

    PublicKey own_id_;
    Services services_;
    TokenBucket rate_;
    Entries entries_;
    uint32_t last_number_ = kFirstNumber;
    size_t questions_ = 0;
    Counts counts_;
};

}  // namespace qanat::controlplane
