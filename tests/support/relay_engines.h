// RelayEngines: the engines of one relay in this process, with the test as its control plane, and members that speak to
// it byte by byte. Each engine has a port of its own, so that a test chooses where a connection arrives.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/engine/inbox.h"
#include "tests/support/engine_pair.h"
#include "tests/support/raw_stream.h"

namespace qanat::dataplane::testing {

class RelayEngines {
public:
    explicit RelayEngines(uint32_t engines = 1, ring::DataPlaneLimits limits = small_limits(), uint32_t pipes = 8,
                          uint32_t chunks = 256);

    // Sends the settings to every engine; relaying without limits is what it begins with.
    void set(const ring::RelaySettings& settings);
    // A member and its session: its id is this byte 32 times.
    static MemberId id_of(uint8_t member);

    RawStream connect(uint8_t member, uint32_t engine = 0);
    // A connection that `member` keeps ready; PARKED has come.
    RawStream offer(uint8_t member, uint32_t engine = 0);
    // The request of a stream to `next`, not sent.
    static std::string forward(RawStream& stream, uint8_t next, std::optional<wire::Endpoint> hint = std::nullopt);

    [[nodiscard]] LoneEngine& engine(uint32_t index = 0) { return *engines_[index]; }
    [[nodiscard]] ring::EngineCounters& counters(uint32_t index = 0) { return engines_[index]->counters(); }
    [[nodiscard]] RelayMembers& members() { return members_; }

private:
    void install(uint8_t member);

    Inboxes inboxes_;
    RelayMembers members_;
    SessionRegistry registry_;
    std::vector<std::unique_ptr<LoneEngine>> engines_;
    std::vector<uint16_t> ports_;
    std::array<bool, 256> installed_{};
    uint64_t next_number_ = 0;
};

inline constexpr ring::RelaySettings kUnlimited{
    .enabled = 1, .zero = {}, .streams_max = 0, .offers_max = 0, .members_max = 0, .bytes_per_second = 0};

}  // namespace qanat::dataplane::testing
