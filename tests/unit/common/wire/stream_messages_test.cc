#include "common/wire/stream_messages.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/wire/preamble.h"
#include "common/wire/record.h"
#include "tests/vectors/vector_file.h"

namespace qanat::wire {
namespace {

using test::from_hex;

std::vector<uint8_t> encoded(const Request& request) {
    std::vector<uint8_t> out(kRequestSizeMax);
    out.resize(encode_request(out, request));
    return out;
}

std::vector<uint8_t> encoded(const Response& response) {
    std::vector<uint8_t> out(kResponseSizeMax);
    out.resize(encode_response(out, response));
    return out;
}

// A message around a body given in hex.
std::vector<uint8_t> message(uint8_t first_byte, std::string_view body_hex) {
    const auto body = from_hex(body_hex);
    std::vector<uint8_t> out(4 + body.size());
    ByteWriter writer(out);
    writer.u8(first_byte);
    writer.u24(static_cast<uint32_t>(body.size()));
    writer.bytes(body);
    return out;
}

TEST(Request, Layout) {
    EXPECT_EQ(encoded({.kind = RequestKind::connect, .target = Target(*Endpoint::parse("1.2.3.4:80"))}),
              from_hex("f0 000009 01 00 01 01020304 0050"));
    NextNode next;
    next.id.fill(0x1d);
    std::string id_hex;
    for (size_t i = 0; i < 32; ++i) id_hex += "1d";
    EXPECT_EQ(encoded({.kind = RequestKind::forward, .next = next}), from_hex("f0 000023 02 00 " + id_hex + " 00"));
    next.hint = *Endpoint::parse("1.2.3.4:80");
    EXPECT_EQ(encoded({.kind = RequestKind::forward, .next = next}),
              from_hex("f0 00002a 02 00 " + id_hex + " 01 01 01020304 0050"));
    EXPECT_EQ(encoded({.kind = RequestKind::park}), from_hex("f0 000002 04 00"));
    EXPECT_EQ(encoded({.kind = RequestKind::offer}), from_hex("f0 000002 05 00"));
    EXPECT_EQ(encoded({.kind = RequestKind::observe}), from_hex("f0 000002 06 00"));
}

TEST(Request, GoesThrough) {
    const Target targets[] = {Target(*Endpoint::parse("1.2.3.4:80")), Target(*Endpoint::parse("[2001:db8::1]:65535")),
                              *Target::from_name("x", 1), *Target::from_name(std::string(255, 'n'), 0)};
    for (const Target& target : targets) {
        const auto bytes = encoded({.kind = RequestKind::connect, .target = target});
        EXPECT_LE(bytes.size(), kRequestSizeMax);
        const auto decoded = decode_request(bytes);
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->kind, RequestKind::connect);
        EXPECT_EQ(decoded->target, target);
    }
    for (const auto& hint : {std::optional<Endpoint>{}, Endpoint::parse("1.2.3.4:80"), Endpoint::parse("[::1]:1")}) {
        NextNode next{.id = {}, .hint = hint};
        next.id.fill(7);
        const auto decoded = decode_request(encoded({.kind = RequestKind::forward, .next = next}));
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->kind, RequestKind::forward);
        EXPECT_EQ(decoded->next.id, next.id);
        EXPECT_EQ(decoded->next.hint, hint);
    }
    for (const RequestKind kind : {RequestKind::park, RequestKind::offer, RequestKind::observe})
        EXPECT_EQ(decode_request(encoded({.kind = kind}))->kind, kind);
}

// FORWARD names an address only, and its flag says whether there is one.
TEST(Request, ForwardThatIsMalformed) {
    std::string id;
    for (size_t i = 0; i < 32; ++i) id += "1d";
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id + " 02")).error(), MessageError::bad_address);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id + " 01 03 01 61 0050")).error(), MessageError::bad_address);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id + " 01 02 01 61 0050")).error(),
              MessageError::unknown_address_type);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id)).error(), MessageError::bad_length);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id.substr(2) + " ")).error(), MessageError::bad_length);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id + " 01 01 010203")).error(), MessageError::bad_length);
    EXPECT_EQ(decode_request(message(0xf0, "02 00 " + id + " 00 01")).error(), MessageError::bad_tlv);
}

TEST(Taken, GoesThroughAndEveryCutIsAnError) {
    Taken taken;
    taken.source.fill(0xab);
    taken.waiting = 0x0102;
    std::vector<uint8_t> bytes(kTakenSize);
    ASSERT_EQ(encode_taken(bytes, taken), kTakenSize);
    std::string source;
    for (size_t i = 0; i < 16; ++i) source += "ab";
    EXPECT_EQ(bytes, from_hex("f2 000012 " + source + " 0102"));
    const auto decoded = decode_taken(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->source, taken.source);
    EXPECT_EQ(decoded->waiting, taken.waiting);
    EXPECT_TRUE(decode_taken(message(0xf2, source + " 0102 0001 0001 ff"))) << "a TLV of a later version";
    for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_taken(Bytes(bytes).first(size))) << size;
    EXPECT_EQ(decode_taken(message(0xf1, source + " 0102")).error(), MessageError::wrong_message);
}

TEST(Request, EveryCutIsAnError) {
    const auto bytes = encoded({.kind = RequestKind::connect, .target = *Target::from_name("example.org", 443)});
    for (size_t size = 0; size < bytes.size(); ++size) {
        auto cut = bytes;
        cut.resize(size);
        EXPECT_EQ(decode_request(cut).error(), size == 0 ? MessageError::wrong_message : MessageError::bad_length);
        if (size < 4) continue;
        cut[3] = static_cast<uint8_t>(size - 4);
        EXPECT_EQ(decode_request(cut).error(), MessageError::bad_length) << size;
    }
    auto longer = bytes;
    longer.push_back(0);
    EXPECT_EQ(decode_request(longer).error(), MessageError::bad_length);
}

TEST(Request, Errors) {
    const struct {
        const char* body;
        MessageError error;
    } cases[] = {
        {"", MessageError::bad_length},
        {"01", MessageError::bad_length},
        {"00 00 01 01020304 0050", MessageError::unknown_kind},
        {"07 00 01 01020304 0050", MessageError::unknown_kind},
        {"01 02 01 01020304 0050", MessageError::unknown_flags},
        {"01 03 01 01020304 0050", MessageError::unknown_flags},
        {"04 01", MessageError::unknown_flags},
        {"05 01", MessageError::unknown_flags},
        {"01 80 01 01020304 0050", MessageError::unknown_flags},
        {"01 00 00 01020304 0050", MessageError::unknown_address_type},
        {"01 00 02 01020304 0050", MessageError::unknown_address_type},
        {"01 00 03 00 0050", MessageError::bad_address},
        {"01 00 03 02 6100 0050", MessageError::bad_address},
        {"01 00 01 01020304 0050 00", MessageError::bad_tlv},
        {"01 00 01 01020304 0050 0005 00", MessageError::bad_tlv},
        {"01 00 01 01020304 0050 0005 0002 01", MessageError::bad_tlv},
        {"01 00 01 01020304 0050 8005 0001 01", MessageError::bad_tlv},
        {"04 00 ffff 0000", MessageError::bad_tlv},
    };
    for (const auto& c : cases) EXPECT_EQ(decode_request(message(0xf0, c.body)), fail_with(c.error)) << c.body;
    EXPECT_EQ(decode_request(message(0xf1, "01 00 01 01020304 0050")).error(), MessageError::wrong_message);
    // The length is 24 bits wide.
    auto wide = message(0xf0, "04 00");
    wide[1] = 1;
    EXPECT_EQ(decode_request(wide).error(), MessageError::bad_length);
}

TEST(Request, OnlyAConnectKeeps) {
    EXPECT_FALSE(decode_request(message(0xf0, "01 00 01 01020304 0050"))->keep);
    const auto kept = decode_request(message(0xf0, "01 01 01 01020304 0050"));
    ASSERT_TRUE(kept);
    EXPECT_TRUE(kept->keep);
    EXPECT_EQ(encoded(*kept), message(0xf0, "01 01 01 01020304 0050"));
}

TEST(Request, TlvsOfLaterVersions) {
    EXPECT_TRUE(decode_request(message(0xf0, "01 00 01 01020304 0050 0001 0000")));
    EXPECT_TRUE(decode_request(message(0xf0, "01 00 01 01020304 0050 7fff 0003 010203 0002 0001 00")));
    // Type 0 ends them, whatever follows.
    EXPECT_TRUE(decode_request(message(0xf0, "01 00 01 01020304 0050 0000")));
    EXPECT_TRUE(decode_request(message(0xf0, "04 00 0000 ffff")));
    // A reserved kind may carry anything: the answer is that it is not supported.
    EXPECT_EQ(decode_request(message(0xf0, "03 00 ffffff"))->kind, RequestKind::udp);
}

TEST(Response, Layout) {
    EXPECT_EQ(encoded({StreamStatus::ok, *Endpoint::parse("10.0.0.1:4660"), {}}),
              from_hex("f1 000008 00 01 0a000001 1234"));
    EXPECT_EQ(encoded({StreamStatus::connection_refused, *Endpoint::parse("10.0.0.1:4660"), Reason("no")}),
              from_hex("f1 00000e 05 01 00000000 0000 0001 0002 6e6f"));
    EXPECT_EQ(encoded({StreamStatus::parked, {}, {}}), from_hex("f1 000008 20 01 00000000 0000"));
    EXPECT_EQ(encoded({StreamStatus::ok, {}, {}, true}), from_hex("f1 00000c 00 01 00000000 0000 0002 0000"));
}

TEST(Response, GoesThrough) {
    for (unsigned status = 0; status < 256; ++status) {
        const auto bytes = message(0xf1, "00 04 20010db8000000000000000000000001 0102 0001 0003 616263");
        auto changed = bytes;
        changed[4] = static_cast<uint8_t>(status);
        const auto decoded = decode_response(changed);
        ASSERT_TRUE(decoded);
        const bool known = status <= 15 || status == 32;
        EXPECT_EQ(static_cast<unsigned>(decoded->status), known ? status : 1) << status;
        EXPECT_EQ(decoded->bound.format(), "[2001:db8::1]:258");
        EXPECT_EQ(decoded->reason.text(), "abc");
    }
    const Response full{StreamStatus::ok, *Endpoint::parse("[2001:db8::1]:1"), Reason(std::string(500, 'r')), true};
    EXPECT_EQ(encoded(full).size(), kResponseSizeMax);
    EXPECT_TRUE(decode_response(encoded(full))->kept);
    EXPECT_EQ(decode_response(encoded(full))->reason.text(), std::string(120, 'r'));
}

TEST(Response, Errors) {
    const struct {
        const char* body;
        MessageError error;
    } cases[] = {
        {"", MessageError::bad_length},
        {"00", MessageError::bad_length},
        {"00 01 000000", MessageError::bad_length},
        {"00 05 00000000 0000", MessageError::unknown_address_type},
        {"00 03 01 61 0000", MessageError::bad_address},
        {"00 01 00000000 0000 0001 0005 6162", MessageError::bad_tlv},
        {"00 01 00000000 0000 8001 0000", MessageError::bad_tlv},
        {"00 01 00000000 0000 0002 0001 00", MessageError::bad_tlv},
    };
    for (const auto& c : cases) {
        const auto decoded = decode_response(message(0xf1, c.body));
        ASSERT_FALSE(decoded) << c.body;
        EXPECT_EQ(decoded.error(), c.error) << c.body;
    }
    std::string body = "00 01 00000000 0000 0001 0078";
    for (int i = 0; i < 120; ++i) body += "61";
    EXPECT_TRUE(decode_response(message(0xf1, body)));
    body.replace(body.find("0078"), 4, "0079");
    EXPECT_EQ(decode_response(message(0xf1, body + "61")).error(), MessageError::bad_tlv);
}

TEST(Response, EveryCutIsAnError) {
    const auto bytes = encoded({StreamStatus::denied, {}, Reason("policy")});
    for (size_t size = 0; size < bytes.size(); ++size) {
        auto cut = bytes;
        cut.resize(size);
        EXPECT_FALSE(decode_response(cut)) << size;
    }
}

TEST(Reason, IsCutBetweenCharacters) {
    EXPECT_EQ(Reason(std::string(119, 'a')).text().size(), 119u);
    EXPECT_EQ(Reason(std::string(121, 'a')).text().size(), 120u);
    EXPECT_EQ(Reason(std::string(119, 'a') + "é").text(), std::string(119, 'a'));
    EXPECT_EQ(Reason(std::string(118, 'a') + "é").text(), std::string(118, 'a') + "é");
    EXPECT_EQ(Reason(std::string(118, 'a') + "é!").text(), std::string(118, 'a') + "é");
    EXPECT_EQ(Reason(std::string(117, 'a') + "😀").text(), std::string(117, 'a'));
    EXPECT_EQ(Reason(std::string(200, '\x80')).text(), "");
}

TEST(StreamStatus, Socks5Replies) {
    const std::pair<int, int> table[] = {{0, 0}, {1, 1}, {2, 2},  {3, 3},  {4, 4},  {5, 5},  {6, 6},  {7, 7},
                                         {8, 8}, {9, 4}, {10, 4}, {11, 1}, {12, 1}, {13, 1}, {14, 1}, {15, 1}};
    for (const auto& [status, reply] : table) EXPECT_EQ(socks5_reply(static_cast<StreamStatus>(status)), reply);
    EXPECT_EQ(stream_status_name(StreamStatus::name_unresolved), "name_unresolved");
    for (int status = 0; status <= 32; ++status)
        EXPECT_EQ(another_node_may_help(static_cast<StreamStatus>(status)), status >= 11 && status <= 15) << status;
}

TEST(Padding, FillsFlights) {
    for (size_t content = 1; content <= kRequestSizeMax; ++content) {
        for (const size_t preamble : {kClientPreambleSize, size_t{0}}) {
            const size_t total =
                preamble + kRecordOverhead + content + padding_for(preamble, content, kRequestFlightMultiple);
            ASSERT_EQ(total % 512, 0u);
            ASSERT_EQ(total, 512u) << content;
        }
    }
    for (size_t content = 1; content <= kResponseSizeMax; ++content) {
        const size_t padding = padding_for(kNodePreambleSize, content, kResponseFlightMultiple);
        ASSERT_EQ(kNodePreambleSize + kRecordOverhead + content + padding, 256u) << content;
    }
    EXPECT_EQ(padding_for(0, 512 - kRecordOverhead, 512), 0u);
    EXPECT_EQ(padding_for(0, 512 - kRecordOverhead + 1, 512), 511u);
    EXPECT_EQ(padding_for(0, 512 - kRecordOverhead - 1, 512), 1u);
    EXPECT_EQ(padding_for(kClientPreambleSize, kContentSizeMax, 512), 0u);
    EXPECT_EQ(padding_for(kClientPreambleSize, kContentSizeMax - 10, 512), 10u);
}

}  // namespace
}  // namespace qanat::wire
