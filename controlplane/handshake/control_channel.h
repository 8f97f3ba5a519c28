// ControlChannel: the records of one control connection after MSG2 (PROTOCOL.md 3.2), both directions, as a pure
// machine: bytes in, messages out; messages in, bytes out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/crypto/aead.h"
#include "common/wire/control_message.h"
#include "common/wire/session_secrets.h"

namespace qanat::controlplane {

class ControlChannel {
public:
    enum class Side : uint8_t { client, node };

    ControlChannel(Side side, const wire::SessionSecrets& secrets);
    ~ControlChannel();
    ControlChannel(const ControlChannel&) = delete;
    ControlChannel& operator=(const ControlChannel&) = delete;

    // The record to send, or nothing when the key is used up (2^43 bytes) and the connection has to end.
    [[nodiscard]] std::optional<std::vector<uint8_t>> seal(const wire::ControlMessage& message);

    // Input in pieces of any size. Messages that arrived before an end are delivered with it.
    struct Input {
        std::vector<wire::ControlMessage> messages;
        bool ended = false;  // close_notify, or anything that is wrong: close the connection
    };
    [[nodiscard]] Input feed(Bytes bytes);

private:
    void open_one(Input& input);

    wire::DirectionKey seal_key_;
    wire::DirectionKey open_key_;
    crypto::Aead sealer_;
    crypto::Aead opener_;
    std::array<uint8_t, wire::kControlRecordSizeMax> buffer_{};
    size_t size_ = 0;
    bool ended_ = false;
};

}  // namespace qanat::controlplane
