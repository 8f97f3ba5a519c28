#include "dataplane/tunnel/observation.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/node_side.h"
#include "tests/unit/dataplane/tunnel/install_session.h"

namespace qanat::dataplane {
namespace {

using testing::NodeSide;
using wire::StreamStatus;
using Kind = Observation::Step::Kind;
using ByteVector = std::vector<uint8_t>;

// A question that has reached the relay.
struct Asked {
    explicit Asked(uint8_t suite = 3) : install(install_of(suite)), session(install), relay(install) {
        wire::Random random;
        random.fill(7);
        observation.compose(flight, session, random);
        request = relay.read_request(flight);
    }
    static ring::InstallSession install_of(uint8_t suite) {
        ring::InstallSession install = install_session(100, 3);
        install.suite = suite;
        return install;
    }
    ByteVector answer(StreamStatus status = StreamStatus::ok, const wire::Endpoint& seen = {}) {
        ByteVector bytes = relay.answer_preamble();
        std::array<uint8_t, wire::kResponseSizeMax> content;
        const size_t size = wire::encode_response(content, {.status = status, .bound = seen, .reason = {}});
        const ByteVector record =
            relay.seal(Bytes(content).first(size), wire::ContentType::control,
                       wire::padding_for(wire::kNodePreambleSize, size, wire::kResponseFlightMultiple));
        bytes.insert(bytes.end(), record.begin(), record.end());
        return bytes;
    }

    ring::InstallSession install;
    SharedSession session;
    NodeSide relay;
    Observation observation;
    std::array<uint8_t, Observation::kFlightSize> flight{};
    std::optional<wire::Request> request;
};

const wire::Endpoint kSeen{*wire::IpAddress::parse("2001:db8::7"), 40123};

TEST(Observation, is_one_request_and_takes_one_stream_number) {
    for (const uint8_t suite : std::array<uint8_t, 3>{1, 2, 3}) {
        Asked asked(suite);
        ASSERT_TRUE(asked.request);
        EXPECT_EQ(asked.request->kind, wire::RequestKind::observe);
        EXPECT_EQ(asked.relay.consumed, Observation::kFlightSize);
        EXPECT_EQ(asked.session.next_stream.load(), 1U);
        ByteVector answer = asked.answer(StreamStatus::ok, kSeen);
        const Observation::Step step = asked.observation.feed(answer);
        EXPECT_EQ(step.kind, Kind::observed);
        EXPECT_EQ(step.address, kSeen);
    }
}

TEST(Observation, waits_for_the_whole_answer) {
    Asked asked;
    const ByteVector answer = asked.answer(StreamStatus::ok, kSeen);
    for (size_t size = 0; size < answer.size(); ++size) {
        ByteVector part(answer.begin(), answer.begin() + static_cast<ptrdiff_t>(size));
        ASSERT_EQ(asked.observation.feed(part).kind, Kind::need_more) << size;
    }
    ByteVector whole = answer;
    whole.push_back(0x17);  // close_notify behind it is of no interest
    EXPECT_EQ(asked.observation.feed(whole).kind, Kind::observed);
}

TEST(Observation, a_refusal_says_which) {
    for (const StreamStatus status : {StreamStatus::kind_not_supported, StreamStatus::at_capacity}) {
        Asked asked;
        ByteVector answer = asked.answer(status);
        const Observation::Step step = asked.observation.feed(answer);
        EXPECT_EQ(step.kind, Kind::refused);
        EXPECT_EQ(step.status, status);
    }
}

TEST(Observation, a_changed_byte_is_malformed) {
    for (size_t at = 0; at < wire::kResponseFlightMultiple; ++at) {
        Asked asked;
        ByteVector answer = asked.answer(StreamStatus::ok, kSeen);
        answer[at] ^= 0x10;
        const Observation::Step step = asked.observation.feed(answer);
        // A length that grew waits for bytes that will not come.
        const bool grew = at == wire::kNodePreambleSize + 4 && step.kind == Kind::need_more;
        EXPECT_TRUE(step.kind == Kind::malformed || grew) << at;
    }
}

TEST(Observation, what_is_no_answer_is_malformed) {
    Asked parked;
    ByteVector answer = parked.answer(StreamStatus::parked);
    EXPECT_EQ(parked.observation.feed(answer).kind, Kind::malformed);
    Asked alert;
    answer = alert.relay.answer_preamble();
    const ByteVector record = alert.relay.seal(wire::kCloseNotify, wire::ContentType::alert);
    answer.insert(answer.end(), record.begin(), record.end());
    EXPECT_EQ(alert.observation.feed(answer).kind, Kind::malformed);
}

}  // namespace
}  // namespace qanat::dataplane
