// RawStream: one side of the tunnel protocol, driven byte by byte by a test.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/crypto/aead.h"
#include "common/wire/preamble.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"
#include "tests/support/sockets.h"

namespace qanat::dataplane::testing {

// A client of the tunnel protocol that this test drives byte by byte.
class RawStream {
public:
    // `session`: one that was installed as EnginePair::install_session does, for suite AES-128-GCM.
    RawStream(uint16_t port, uint64_t number, uint64_t session = 1001)
        : socket_(::qanat::testing::TestSocket::connect(port)) {
        std::array<uint8_t, 32> secret;
        secret.fill(static_cast<uint8_t>(session));
        std::array<uint8_t, 32> header_key;
        header_key.fill(0x5a);
        wire::Random random;
        random.fill(static_cast<uint8_t>(number * 7 + 1));
        schedule_.emplace(crypto::Suite::aes_128_gcm, secret, session, number, random);
        up_ = schedule_->client_to_node();
        seal_->expand(up_.suite, up_.key_bytes());
        preamble_.resize(wire::kClientPreambleSize);
        wire::encode_client_preamble(std::span<uint8_t, wire::kClientPreambleSize>(
                                         reinterpret_cast<uint8_t*>(preamble_.data()), wire::kClientPreambleSize),
                                     header_key, random, session, number);
    }

    std::string record(const std::string& content, wire::ContentType type = wire::ContentType::data,
                       size_t padding = 0) {
        std::string out(wire::kRecordOverhead + content.size() + padding, '\0');
        EXPECT_EQ(wire::seal_record_copy(*seal_, up_, MutableBytes(reinterpret_cast<uint8_t*>(out.data()), out.size()),
                                         as_bytes(content), type, padding),
                  out.size());
        return out;
    }
    std::string request(wire::RequestKind kind, uint16_t port = 0, bool keep = false) {
        wire::Request message{.kind = kind, .keep = keep, .target = {}, .next = {}};
        if (kind == wire::RequestKind::connect)
            message.target = wire::Target(wire::Endpoint{.ip = wire::IpAddress::v4(127, 0, 0, 1), .port = port});
        return request(message);
    }
    std::string request(const wire::Request& message) {
        std::array<uint8_t, wire::kRequestSizeMax> bytes;
        const size_t size = wire::encode_request(bytes, message);
        const std::string preamble = std::exchange(preamble_, {});
        return preamble + record(std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)),
                                 wire::ContentType::control,
                                 wire::padding_for(preamble.size(), size, wire::kRequestFlightMultiple));
    }
    // Status of the next RESPONSE; nothing when the node has closed.
    std::optional<wire::StreamStatus> response() {
        const auto message = whole_response();
        return message ? std::optional(message->status) : std::nullopt;
    }
    std::optional<wire::Response> whole_response() {
        const auto content = next_record();
        if (!content) return std::nullopt;
        const auto message = wire::decode_response(as_bytes(*content));
        return message ? std::optional(*message) : std::nullopt;
    }
    // Content of the next record of the node; its preamble is read first if it has not come yet.
    std::optional<std::string> next_record() {
        if (!answered_ && !read_preamble()) return std::nullopt;
        std::string whole = socket_.receive(wire::kRecordHeaderSize);
        if (whole.size() < wire::kRecordHeaderSize) return std::nullopt;
        record_size_ = *wire::record_size(as_bytes(whole));
        whole += socket_.receive(record_size_ - wire::kRecordHeaderSize);
        const auto record =
            wire::open_record(*open_, down_, MutableBytes(reinterpret_cast<uint8_t*>(whole.data()), whole.size()));
        if (!record) return std::nullopt;
        return std::string(record->content.begin(), record->content.end());
    }
    bool read_preamble() {
        std::string preamble = socket_.receive(wire::kNodePreambleSize);
        if (preamble.size() < wire::kNodePreambleSize) return false;
        const auto node = wire::decode_node_preamble(std::span<const uint8_t, wire::kNodePreambleSize>(
            reinterpret_cast<uint8_t*>(preamble.data()), wire::kNodePreambleSize));
        down_ = schedule_->node_to_client(node->server_random);
        open_->expand(down_.suite, down_.key_bytes());
        answered_ = true;
        return true;
    }
    // Of the record that came last, header and tag included.
    [[nodiscard]] size_t record_size() const { return record_size_; }
    ::qanat::testing::TestSocket& socket() { return socket_; }

private:
    ::qanat::testing::TestSocket socket_;
    std::optional<wire::StreamKeySchedule> schedule_;
    wire::DirectionKey up_;
    wire::DirectionKey down_;
    // On the heap, so that a stream can be moved.
    std::unique_ptr<crypto::Aead> seal_ = std::make_unique<crypto::Aead>();
    std::unique_ptr<crypto::Aead> open_ = std::make_unique<crypto::Aead>();
    std::string preamble_;
    bool answered_ = false;
    size_t record_size_ = 0;
};

}  // namespace qanat::dataplane::testing
