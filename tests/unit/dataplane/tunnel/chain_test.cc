#include "dataplane/tunnel/chain.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/node_side.h"
#include "tests/unit/dataplane/tunnel/install_session.h"

namespace qanat::dataplane {
namespace {

using testing::NodeSide;
using wire::StreamStatus;
using Kind = Chain::Step::Kind;
using ByteVector = std::vector<uint8_t>;

constexpr uint32_t kFirstRelay = 10;
constexpr uint64_t kFirstSession = 100;
constexpr std::array<uint8_t, 32> kLast{0x1a, 0x57};

ring::RingEndpoint endpoint(uint8_t last_byte) {
    ring::RingEndpoint result{};
    result.ip = {192, 0, 2, last_byte};
    result.port = 4000;
    result.family = 4;
    return result;
}

// A path of `count` relays. The last of them has no address for the node behind it.
struct Path {
    explicit Path(size_t count, uint8_t suite = 3) : sessions(8) {
        random[0].fill(1), random[1].fill(2), random[2].fill(3);
        for (size_t i = 0; i < count; ++i) {
            ring::InstallSession install = install_session(kFirstSession + i, kFirstRelay + static_cast<uint32_t>(i));
            install.suite = suite;
            EXPECT_TRUE(sessions.install(std::make_shared<SharedSession>(install)));
            nodes.emplace_back(install);
            peers.push_back(install.peer);
            via.push_back({.node = install.node,
                           .next = i + 1 == count ? ring::RingEndpoint{} : endpoint(static_cast<uint8_t>(i))});
        }
    }

    // Begins, composes, and lets every relay read its request.
    void send() {
        ASSERT_TRUE(chain.begin(sessions, via, kLast));
        flight.resize(Chain::kFlightMax);
        flight.resize(*chain.compose(sessions, flight, random));
        std::span<uint8_t> rest = flight;
        for (NodeSide& node : nodes) {
            requests.push_back(*node.read_request(rest));
            EXPECT_EQ(node.consumed, wire::kRequestFlightMultiple);
            rest = rest.subspan(node.consumed);
        }
        EXPECT_TRUE(rest.empty());
    }

    SessionTable sessions;
    std::vector<NodeSide> nodes;
    std::vector<std::array<uint8_t, 32>> peers;
    std::vector<ring::Via> via;
    std::array<wire::Random, ring::kViaMax> random{};
    ByteVector flight;
    std::vector<wire::Request> requests;
    Chain chain;
};

void append(ByteVector& to, const ByteVector& from) {
    to.insert(to.end(), from.begin(), from.end());
}

// Feeds as a caller with one buffer does; returns the last step and what is left behind it.
std::pair<Chain::Step, ByteVector> feed_in_parts(Chain& chain, const ByteVector& answers,
                                                 const std::vector<size_t>& ends) {
    ByteVector buffer;
    Chain::Step step{.kind = chain.open() ? Kind::open : Kind::need_more, .consumed = 0};
    size_t from = 0;
    for (const size_t end : ends) {
        buffer.insert(buffer.end(), answers.begin() + static_cast<ptrdiff_t>(from),
                      answers.begin() + static_cast<ptrdiff_t>(end));
        from = end;
        if (step.kind == Kind::refused || step.kind == Kind::malformed) continue;
        step = chain.feed(buffer);
        buffer.erase(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(step.consumed));
    }
    return {step, buffer};
}

TEST(Chain, without_relays_it_is_open_and_adds_nothing) {
    Path path(0);
    path.send();
    EXPECT_TRUE(path.flight.empty());
    EXPECT_TRUE(path.chain.open());
    EXPECT_EQ(path.chain.size(), 0U);
    EXPECT_EQ(path.chain.at(), ring::kNoNode);
    EXPECT_EQ(path.chain.session_id(), 0U);
    EXPECT_FALSE(path.chain.uses(0));
    ByteVector bytes(10);
    const Chain::Step step = path.chain.feed(bytes);
    EXPECT_EQ(step.kind, Kind::open);
    EXPECT_EQ(step.consumed, 0U);
}

TEST(Chain, each_relay_is_asked_for_the_one_behind_it) {
    for (size_t count = 1; count <= ring::kViaMax; ++count) {
        for (const uint8_t suite : std::array<uint8_t, 3>{1, 2, 3}) {
            Path path(count, suite);
            path.send();
            EXPECT_EQ(path.chain.size(), count);
            for (size_t i = 0; i < count; ++i) {
                const wire::Request& request = path.requests[i];
                EXPECT_EQ(request.kind, wire::RequestKind::forward);
                EXPECT_EQ(path.nodes[i].preamble.stream_no, 0U);
                EXPECT_EQ(path.nodes[i].preamble.client_random, path.random[i]);
                if (i + 1 == count) {
                    EXPECT_EQ(request.next.id, kLast);
                    EXPECT_FALSE(request.next.hint.has_value());
                } else {
                    EXPECT_EQ(request.next.id, path.peers[i + 1]);
                    ASSERT_TRUE(request.next.hint.has_value());
                    EXPECT_EQ(request.next.hint->format(), "192.0.2." + std::to_string(i) + ":4000");
                }
            }
        }
    }
}

TEST(Chain, an_ipv6_hint_and_the_next_stream_number) {
    Path path(1);
    ring::RingEndpoint six{};
    six.ip[0] = 0x20, six.ip[1] = 0x01, six.ip[15] = 7;
    six.port = 443;
    six.family = 6;
    path.via[0].next = six;
    (void)path.sessions.find(kFirstSession)->next_stream.fetch_add(41);
    path.send();
    EXPECT_EQ(path.requests[0].next.hint->format(), "[2001::7]:443");
    EXPECT_EQ(path.nodes[0].preamble.stream_no, 41U);
    EXPECT_EQ(path.sessions.find(kFirstSession)->next_stream.load(), 42U);
}

TEST(Chain, opens_however_the_answers_are_cut) {
    for (size_t count = 1; count <= ring::kViaMax; ++count) {
        const ByteVector leftovers{0x17, 3, 3, 0, 0x20, 9, 9};
        size_t total = 0;
        const auto prepare = [&](Path& path) {
            path.send();
            ByteVector answers;
            for (NodeSide& node : path.nodes) append(answers, node.answer());
            EXPECT_EQ(answers.size(), count * wire::kResponseFlightMultiple);
            append(answers, leftovers);
            total = answers.size();
            return answers;
        };
        {
            Path path(count);
            const ByteVector answers = prepare(path);
            std::vector<size_t> bytes(total);
            for (size_t i = 0; i < total; ++i) bytes[i] = i + 1;
            const auto [step, rest] = feed_in_parts(path.chain, answers, bytes);
            EXPECT_EQ(step.kind, Kind::open);
            EXPECT_EQ(rest, leftovers);
        }
        for (size_t cut = 0; cut <= total; cut += cut % 256 < 64 ? size_t{1} : size_t{13}) {
            Path path(count);
            const ByteVector answers = prepare(path);
            const auto [step, rest] = feed_in_parts(path.chain, answers, {cut, total});
            ASSERT_EQ(step.kind, Kind::open) << cut;
            EXPECT_TRUE(path.chain.open());
            EXPECT_EQ(rest, leftovers);
            EXPECT_EQ(path.chain.at(), kFirstRelay + count - 1);
        }
    }
}

TEST(Chain, a_preamble_that_goes_ahead_alone_changes_nothing) {
    Path path(2);
    path.send();
    ByteVector first = path.nodes[0].answer_preamble();
    EXPECT_EQ(path.chain.feed(first).kind, Kind::need_more);
    append(first, path.nodes[0].response());
    append(first, path.nodes[1].answer_preamble());
    const Chain::Step step = path.chain.feed(first);
    EXPECT_EQ(step.kind, Kind::need_more);
    EXPECT_EQ(step.consumed, wire::kResponseFlightMultiple);
    EXPECT_EQ(path.chain.at(), kFirstRelay + 1);
    EXPECT_FALSE(path.chain.open());
    ByteVector second(first.begin() + static_cast<ptrdiff_t>(step.consumed), first.end());
    append(second, path.nodes[1].response());
    EXPECT_EQ(path.chain.feed(second).kind, Kind::open);
}

TEST(Chain, a_refusal_names_the_relay) {
    for (size_t count = 1; count <= ring::kViaMax; ++count) {
        for (size_t who = 0; who < count; ++who) {
            Path path(count);
            path.send();
            ByteVector answers;
            for (size_t i = 0; i < who; ++i) append(answers, path.nodes[i].answer());
            append(answers, path.nodes[who].answer(StreamStatus::next_unreachable));
            append(answers, path.nodes[who].seal(wire::kCloseNotify, wire::ContentType::alert));
            const Chain::Step step = path.chain.feed(answers);
            EXPECT_EQ(step.kind, Kind::refused);
            EXPECT_EQ(step.status, StreamStatus::next_unreachable);
            EXPECT_EQ(step.consumed, (who + 1) * wire::kResponseFlightMultiple);
            EXPECT_EQ(path.chain.at(), kFirstRelay + who);
            EXPECT_EQ(path.chain.session_id(), kFirstSession + who);
            EXPECT_FALSE(path.chain.open());
        }
    }
}

TEST(Chain, a_changed_byte_is_malformed) {
    for (size_t at = 0; at < wire::kResponseFlightMultiple; ++at) {
        Path path(2);
        path.send();
        ByteVector answers = path.nodes[0].answer();
        append(answers, path.nodes[1].answer());
        answers[wire::kResponseFlightMultiple + at] ^= 0x10;
        const auto [step, rest] = feed_in_parts(path.chain, answers, {answers.size()});
        // A length that grew waits for bytes that will not come.
        const bool grew = at == wire::kNodePreambleSize + 4 && step.kind == Kind::need_more;
        EXPECT_TRUE(step.kind == Kind::malformed || grew) << at;
        EXPECT_EQ(step.consumed, wire::kResponseFlightMultiple);
        EXPECT_EQ(path.chain.at(), kFirstRelay + 1);
    }
}

TEST(Chain, what_is_no_answer_is_malformed) {
    const auto result = [](auto make) {
        Path path(1);
        path.send();
        ByteVector bytes = path.nodes[0].answer_preamble();
        append(bytes, make(path.nodes[0]));
        return path.chain.feed(bytes).kind;
    };
    const ByteVector response{0xf1, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0};
    EXPECT_EQ(result([&](NodeSide& node) { return node.seal(response, wire::ContentType::control); }), Kind::open);
    EXPECT_EQ(result([&](NodeSide& node) { return node.seal(response, wire::ContentType::data); }), Kind::malformed);
    EXPECT_EQ(result([&](NodeSide& node) { return node.seal(wire::kAbort, wire::ContentType::alert); }),
              Kind::malformed);
    EXPECT_EQ(result([](NodeSide& node) {
                  return node.seal(ByteVector{1, 2, 3}, wire::ContentType::control);
              }),
              Kind::malformed);
    EXPECT_EQ(result([](NodeSide& node) { return node.response(StreamStatus::parked); }), Kind::malformed);
    // The largest that fits, and one byte more: refused by its header, before it is there.
    const size_t most = Chain::kAnswerMax - wire::kNodePreambleSize - wire::kRecordOverhead - response.size();
    const auto padded = [&](size_t padding) {
        return result([&](NodeSide& node) { return node.seal(response, wire::ContentType::control, padding); });
    };
    EXPECT_EQ(padded(most), Kind::open);
    EXPECT_EQ(padded(most + 1), Kind::malformed);
    EXPECT_EQ(result([](NodeSide&) { return ByteVector{0x17, 3, 3, 0xff, 0xff}; }), Kind::malformed);
    EXPECT_EQ(result([](NodeSide&) { return ByteVector{'H', 'T', 'T', 'P', '/'}; }), Kind::malformed);
}

TEST(Chain, another_session_in_its_place_is_malformed) {
    Path path(2);
    path.send();
    ByteVector answers = path.nodes[1].answer();
    EXPECT_EQ(path.chain.feed(answers).kind, Kind::malformed);
}

TEST(Chain, a_missing_session_names_its_relay) {
    for (size_t who = 0; who < ring::kViaMax; ++who) {
        Path path(ring::kViaMax);
        EXPECT_TRUE(Chain::usable(path.sessions, path.via));
        path.sessions.remove(kFirstSession + who);
        EXPECT_FALSE(Chain::usable(path.sessions, path.via));
        EXPECT_FALSE(path.chain.begin(path.sessions, path.via, kLast));
        EXPECT_EQ(path.chain.at(), kFirstRelay + who);
        EXPECT_EQ(path.chain.session_id(), 0U);
    }
}

TEST(Chain, a_session_that_goes_between_begin_and_compose) {
    Path path(ring::kViaMax);
    ASSERT_TRUE(path.chain.begin(path.sessions, path.via, kLast));
    path.sessions.remove(kFirstSession + 1);
    ByteVector out(Chain::kFlightMax);
    EXPECT_FALSE(path.chain.compose(path.sessions, out, path.random).has_value());
    EXPECT_EQ(path.chain.at(), kFirstRelay + 1);
    EXPECT_EQ(path.chain.session_id(), kFirstSession + 1);
    EXPECT_EQ(path.sessions.find(kFirstSession)->next_stream.load(), 0U);
}

TEST(Chain, uses_and_wipe) {
    Path path(2);
    path.send();
    EXPECT_TRUE(path.chain.uses(kFirstSession));
    EXPECT_TRUE(path.chain.uses(kFirstSession + 1));
    EXPECT_FALSE(path.chain.uses(kFirstSession + 2));
    EXPECT_FALSE(path.chain.uses(0));
    path.chain.wipe();
    EXPECT_FALSE(path.chain.uses(kFirstSession));
    EXPECT_TRUE(path.chain.open());
    EXPECT_EQ(path.chain.at(), ring::kNoNode);

    // And again, on a shorter path.
    path.via.erase(path.via.begin());
    ASSERT_TRUE(path.chain.begin(path.sessions, path.via, kLast));
    ByteVector out(Chain::kFlightMax);
    EXPECT_EQ(path.chain.compose(path.sessions, out, path.random), wire::kRequestFlightMultiple);
    EXPECT_FALSE(path.chain.uses(kFirstSession));
    EXPECT_EQ(path.nodes[1].read_request(out)->next.id, kLast);
    EXPECT_EQ(path.nodes[1].preamble.stream_no, 1U);
}

}  // namespace
}  // namespace qanat::dataplane
