// Observation: how a relay sees this end of a connection (OBSERVE, PROTOCOL.md section 6.3): one request out, one
// answer in. Pure: randomness is an argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "common/base/bytes.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"
#include "dataplane/tunnel/shared_session.h"

namespace qanat::dataplane {

class Observation {
public:
    static constexpr size_t kFlightSize = wire::kRequestFlightMultiple;
    // feed() needs room for this many bytes, and for no more.
    static constexpr size_t kAnswerMax = 4 * wire::kResponseFlightMultiple;

    // The first flight, under the session with the relay; takes a stream number of it.
    void compose(std::span<uint8_t, kFlightSize> out, SharedSession& session, const wire::Random& random);

    struct Step {
        enum class Kind : uint8_t { need_more, observed, refused, malformed };
        Kind kind;
        wire::Endpoint address{};     // of observed
        wire::StreamStatus status{};  // of refused
    };
    // `received`: all that came since compose(). Not to be called again after another answer than need_more.
    [[nodiscard]] Step feed(MutableBytes received);

private:
    std::optional<wire::StreamKeySchedule> schedule_;
};

}  // namespace qanat::dataplane
