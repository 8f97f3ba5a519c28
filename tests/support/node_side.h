// NodeSide: what a node or relay does with the first flight of one stream, for tests that stand in its place: opens
// preamble and REQUEST under the session that the client has, and makes preamble and RESPONSE.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/crypto/aead.h"
#include "common/ring/messages.h"
#include "common/wire/preamble.h"
#include "common/wire/record.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"

namespace qanat::dataplane::testing {

class NodeSide {
public:
    // `client` is the session as it was installed on the client's side.
    explicit NodeSide(const ring::InstallSession& client) : session_(client) {}

    // The REQUEST at the front of `flight`, preamble and record of `consumed` bytes. nullopt if it is not authentic.
    std::optional<wire::Request> read_request(std::span<uint8_t> flight) {
        if (flight.size() < wire::kClientPreambleSize + wire::kRecordHeaderSize) return std::nullopt;
        preamble = *wire::decode_client_preamble(flight.first<wire::kClientPreambleSize>(), session_.header_key);
        if (preamble.session_id != session_.session_id) return std::nullopt;
        schedule_.emplace(*crypto::suite_from_id(session_.suite), session_.data_secret, preamble.session_id,
                          preamble.stream_no, preamble.client_random);
        from_client = schedule_->client_to_node();
        const auto content = read_control(flight.subspan(wire::kClientPreambleSize));
        if (!content) return std::nullopt;
        consumed += wire::kClientPreambleSize;
        return *wire::decode_request(*content);
    }

    std::vector<uint8_t> answer_preamble() {
        wire::Random server_random;
        server_random.fill(static_cast<uint8_t>(session_.session_id));
        std::vector<uint8_t> bytes(wire::kNodePreambleSize);
        wire::encode_node_preamble(std::span(bytes).first<wire::kNodePreambleSize>(), server_random);
        to_client = schedule_->node_to_client(server_random);
        return bytes;
    }

    // Behind answer_preamble().
    std::vector<uint8_t> response(wire::StreamStatus status = wire::StreamStatus::ok, bool kept = false) {
        std::vector<uint8_t> content(wire::kResponseSizeMax);
        content.resize(wire::encode_response(
            content,
            {.status = status, .bound = {}, .reason = wire::Reason(std::string_view("because")), .kept = kept}));
        return seal(content, wire::ContentType::control,
                    wire::padding_for(to_client.sequence == 0 ? wire::kNodePreambleSize : 0, content.size(),
                                      wire::kResponseFlightMultiple));
    }

    std::vector<uint8_t> answer(wire::StreamStatus status = wire::StreamStatus::ok, bool kept = false) {
        std::vector<uint8_t> bytes = answer_preamble();
        const std::vector<uint8_t> record = response(status, kept);
        bytes.insert(bytes.end(), record.begin(), record.end());
        return bytes;
    }

    std::vector<uint8_t> seal(std::span<const uint8_t> content, wire::ContentType type, size_t padding = 0) {
        crypto::Aead aead;
        aead.expand(to_client.suite, to_client.key_bytes());
        std::vector<uint8_t> record(wire::kRecordOverhead + content.size() + padding);
        record.resize(wire::seal_record_copy(aead, to_client, record, content, type, padding));
        return record;
    }

    // The content of the control record at the front of `records`, of `consumed` bytes; opened in place.
    std::optional<Bytes> read_control(std::span<uint8_t> records) {
        const auto size = wire::record_size(records);
        if (!size || records.size() < *size) return std::nullopt;
        crypto::Aead aead;
        aead.expand(from_client.suite, from_client.key_bytes());
        const auto record = wire::open_record(aead, from_client, records.first(*size));
        if (!record || record->type != wire::ContentType::control) return std::nullopt;
        consumed = *size;
        return record->content;
    }

    wire::ClientPreamble preamble;
    size_t consumed = 0;
    wire::DirectionKey from_client;
    wire::DirectionKey to_client;

private:
    ring::InstallSession session_;
    std::optional<wire::StreamKeySchedule> schedule_;
};

}  // namespace qanat::dataplane::testing
