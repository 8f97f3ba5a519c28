#include "common/wire/stream_keys.h"

#include <gtest/gtest.h>

#include "common/wire/preamble.h"
#include "common/wire/stream_messages.h"
#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

using crypto::Aead;
using crypto::Suite;
using Bytes32 = std::span<const uint8_t, 32>;

std::vector<uint8_t> to_vector(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// Everything of section 4 against answers made by an independent program (tests/vectors/key_schedule.py).
TEST(StreamKeys, KnownAnswers) {
    int checked = 0;
    for (const auto& c : test::read_vectors("key_schedule.txt")) {
        if (c.text("case") != "stream") continue;
        ++checked;
        SCOPED_TRACE("suite " + c.text("suite") + " stream " + c.text("stream_no"));
        const auto suite = crypto::suite_from_id(static_cast<uint8_t>(c.number("suite")));
        ASSERT_TRUE(suite);
        const auto s_data = c.bytes("s_data"), client_random = c.bytes("client_random");
        const auto server_random = c.bytes("server_random"), k_hdr = c.bytes("k_hdr");
        const uint64_t session_id = c.number("session_id"), stream_no = c.number("stream_no");

        std::vector<uint8_t> flight(512);
        encode_client_preamble(std::span(flight).first<kClientPreambleSize>(), Bytes32(k_hdr), Bytes32(client_random),
                               session_id, stream_no);
        EXPECT_EQ(to_vector(Bytes(flight).first(kClientPreambleSize)), c.bytes("preamble"));

        const StreamKeySchedule schedule(*suite, Bytes32(s_data), session_id, stream_no, Bytes32(client_random));
        DirectionKey c2n = schedule.client_to_node();
        DirectionKey n2c = schedule.node_to_client(Bytes32(server_random));
        EXPECT_EQ(to_vector(c2n.key_bytes()), c.bytes("c2n_key"));
        EXPECT_EQ(to_vector(c2n.iv), c.bytes("c2n_iv"));
        EXPECT_EQ(to_vector(n2c.key_bytes()), c.bytes("n2c_key"));
        EXPECT_EQ(to_vector(n2c.iv), c.bytes("n2c_iv"));
        EXPECT_EQ(c2n.suite, *suite);
        EXPECT_EQ(c2n.sequence, 0u);
        EXPECT_EQ(c2n.bytes, 0u);

        if (!Aead::supports(*suite)) continue;
        Aead aead;
        aead.expand(*suite, c2n.key_bytes());
        std::array<uint8_t, kRequestSizeMax> request;
        const size_t request_size =
            encode_request(request, {RequestKind::connect, 0, *Target::from_name("example.org", 443)});
        EXPECT_EQ(seal_record_copy(aead, c2n, MutableBytes(flight).subspan(kClientPreambleSize),
                                   Bytes(request).first(request_size), ContentType::control,
                                   padding_for(kClientPreambleSize, request_size, kRequestFlightMultiple)),
                  512 - kClientPreambleSize);
        EXPECT_EQ(flight, c.bytes("flight"));
        std::vector<uint8_t> data(kRecordOverhead + 5);
        EXPECT_EQ(seal_record_copy(aead, c2n, data, as_bytes("hello"), ContentType::data), data.size());
        EXPECT_EQ(data, c.bytes("data"));

        aead.expand(*suite, n2c.key_bytes());
        std::vector<uint8_t> answer(256);
        encode_node_preamble(std::span(answer).first<kNodePreambleSize>(), Bytes32(server_random));
        std::array<uint8_t, kResponseSizeMax> response;
        const size_t response_size =
            encode_response(response, {StreamStatus::connection_refused, {}, Reason("nobody listens")});
        EXPECT_EQ(seal_record_copy(aead, n2c, MutableBytes(answer).subspan(kNodePreambleSize),
                                   Bytes(response).first(response_size), ContentType::control,
                                   padding_for(kNodePreambleSize, response_size, kResponseFlightMultiple)),
                  256 - kNodePreambleSize);
        EXPECT_EQ(answer, c.bytes("answer"));
        std::vector<uint8_t> alert(kRecordOverhead + 2);
        EXPECT_EQ(seal_record_copy(aead, n2c, alert, kCloseNotify, ContentType::alert), alert.size());
        EXPECT_EQ(alert, c.bytes("close_notify"));
    }
    EXPECT_EQ(checked, 9);
}

// Each input changes both keys, except that server_random has no part in the client's.
TEST(StreamKeys, EveryInputMatters) {
    struct Input {
        Suite suite = Suite::aes_256_gcm;
        std::array<uint8_t, 32> s_data{1}, client_random{2}, server_random{3};
        uint64_t session_id = 4, stream_no = 5;
    };
    const auto keys = [](const Input& in) {
        const StreamKeySchedule schedule(in.suite, in.s_data, in.session_id, in.stream_no, in.client_random);
        return std::pair(schedule.client_to_node(), schedule.node_to_client(in.server_random));
    };
    const auto [c2n, n2c] = keys({});
    EXPECT_NE(c2n.key, n2c.key);
    EXPECT_NE(c2n.iv, n2c.iv);
    std::vector<Input> changed(6);
    changed[0].suite = Suite::chacha20_poly1305;
    changed[1].s_data[31] ^= 0x80;
    changed[2].client_random[31] ^= 1;
    changed[3].session_id ^= uint64_t{1} << 63;
    changed[4].stream_no ^= 1;
    changed[5].server_random[0] ^= 1;
    for (size_t i = 0; i < changed.size(); ++i) {
        const auto [other_c2n, other_n2c] = keys(changed[i]);
        EXPECT_EQ(other_c2n.key == c2n.key, i == 5) << i;
        EXPECT_EQ(other_c2n.iv == c2n.iv, i == 5) << i;
        EXPECT_NE(other_n2c.key, n2c.key) << i;
        EXPECT_NE(other_n2c.iv, n2c.iv) << i;
    }
}

TEST(StreamKeys, TheNodesKeyCanBeMadeAgain) {
    const std::array<uint8_t, 32> secret{1}, random{2};
    const StreamKeySchedule schedule(Suite::aes_128_gcm, secret, 1, 1, random);
    EXPECT_EQ(schedule.node_to_client(random).key, schedule.node_to_client(random).key);
    EXPECT_EQ(schedule.client_to_node().key, schedule.client_to_node().key);
}

}  // namespace
}  // namespace qanat::wire
