#include "perf/micro/parts.h"

#include <algorithm>
#include <cstring>

#include "common/base/assert.h"
#include "common/wire/address.h"
#include "common/wire/replay_window.h"
#include "common/wire/stream_keys.h"
#include "common/wire/stream_messages.h"
#include "dataplane/socks5/server.h"

namespace qanat::perf {
namespace {

constexpr uint32_t kWindow = 8192;

std::array<uint8_t, 32> bytes_of(uint8_t value) {
    std::array<uint8_t, 32> bytes;
    bytes.fill(value);
    return bytes;
}

wire::DirectionKey some_key(crypto::Suite suite) {
    return wire::derive_direction_key(bytes_of(7), suite);
}

}  // namespace

uint64_t socks_by_name() {
    static constexpr std::array<uint8_t, 4> kGreeting{5, 2, 0, 2};
    static constexpr std::string_view kName = "objects.example.org";
    static const auto request = [] {
        std::array<uint8_t, 5 + kName.size() + 2> bytes{5, 1, 0, 3, static_cast<uint8_t>(kName.size())};
        std::copy(kName.begin(), kName.end(), bytes.begin() + 5);
        bytes[bytes.size() - 2] = 0x01;
        bytes[bytes.size() - 1] = 0xbb;
        return bytes;
    }();
    dataplane::Socks5Server server(nullptr);
    const auto first = server.feed(kGreeting);
    const size_t method = server.take_output().size();
    const auto second = server.feed(request);
    QANAT_ASSERT(second.kind == dataplane::Socks5Server::Step::Kind::request);
    std::array<uint8_t, dataplane::kSocks5ReplySizeMax> reply;
    const size_t size = dataplane::encode_reply(reply, dataplane::Socks5Reply::succeeded, wire::Endpoint{});
    return first.consumed + method + second.consumed + size + server.target().port();
}

uint64_t socks_byte_by_byte() {
    static constexpr std::array<uint8_t, 13> kInput{5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 1, 0x01, 0xbb};
    dataplane::Socks5Server server(nullptr);
    size_t start = 0;
    for (size_t end = 1; end <= kInput.size(); ++end) {
        const auto step = server.feed(Bytes(kInput).subspan(start, end - start));
        start += step.consumed;
        if (step.kind == dataplane::Socks5Server::Step::Kind::request) return server.target().port() + start;
    }
    QANAT_ASSERT(false);
    return 0;
}

uint64_t address_round() {
    static const std::array<wire::Target, 3> targets{*wire::Target::parse("192.0.2.1:443"),
                                                     *wire::Target::parse("[2001:db8::1]:443"),
                                                     *wire::Target::parse("objects.example.org:443")};
    uint64_t sum = 0;
    for (const wire::Target& target : targets) {
        std::array<uint8_t, wire::kAddressSizeMax> buffer;
        ByteWriter out(buffer);
        target.encode(out);
        ByteReader in(out.written());
        const auto back = wire::Target::decode(in);
        QANAT_ASSERT(back);
        sum += back->port() + out.size();
    }
    return sum;
}

uint64_t stream_messages() {
    static const wire::Request request{
        .kind = wire::RequestKind::connect, .keep = false, .target = *wire::Target::parse("objects.example.org:443")};
    std::array<uint8_t, std::max(wire::kRequestSizeMax, wire::kResponseSizeMax)> buffer;
    const size_t asked = wire::encode_request(buffer, request);
    const auto read = wire::decode_request(Bytes(buffer).first(asked));
    QANAT_ASSERT(read);
    const size_t told = wire::encode_response(buffer, wire::Response{});
    const auto heard = wire::decode_response(Bytes(buffer).first(told));
    QANAT_ASSERT(heard);
    return asked + told + read->target.port();
}

uint64_t key_schedule() {
    static const auto s_data = bytes_of(1);
    static const auto client_random = bytes_of(2);
    static const auto server_random = bytes_of(3);
    static uint64_t stream_no = 0;
    const wire::StreamKeySchedule schedule(crypto::Suite::aes_128_gcm, s_data, 99, ++stream_no, client_random);
    const wire::DirectionKey there = schedule.client_to_node();
    const wire::DirectionKey back = schedule.node_to_client(server_random);
    return there.key[0] + back.key[0];
}

PlanPick::PlanPick(ring::PlanRule rule, uint32_t hops) {
    for (uint32_t first = 0; first < hops; first += ring::kPlanHopsPerPart) {
        ring::PlanPart part{};
        part.version = 1;
        part.rule = rule;
        part.total = hops;
        part.first = first;
        part.count = static_cast<uint16_t>(std::min(hops - first, ring::kPlanHopsPerPart));
        part.response_timeout_ms = 5000;
        part.tries_max = 3;
        for (uint32_t n = 0; n < part.count; ++n) {
            ring::PlanHop& hop = part.hops[n];
            hop.node = first + n;
            hop.weight = 1 + (first + n) % 7;
            hop.state = ring::HopState::up;
            hop.address.family = 4;
        }
        const auto outcome = plan_.apply(part);
        QANAT_ASSERT(outcome == dataplane::PartOutcome::stored || outcome == dataplane::PartOutcome::complete);
    }
    QANAT_ASSERT(plan_.up_count() == hops);
}

uint64_t PlanPick::pick() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    const ring::PlanHop* hop = plan_.pick(
        state_, random_, {}, [](const ring::PlanHop&) { return true; }, [](uint32_t) { return 0U; });
    return hop->node;
}

RingPass::RingPass(size_t message_size)
    : section_(std::make_unique<ring::RingSection>()),
      producer_(*section_),
      consumer_(*section_),
      message_(message_size, 0x5a) {}

uint64_t RingPass::pass() {
    const bool written = producer_.try_write(ring::MessageType::settings, message_);
    QANAT_ASSERT(written);
    const bool ring_bell = producer_.publish();
    const bool read = consumer_.read(copy_);
    QANAT_ASSERT(read);
    consumer_.release();
    return copy_.size + (ring_bell ? 1 : 0);
}

struct ReplayStep::State {
    std::vector<uint64_t> words = std::vector<uint64_t>(wire::ReplayWindow::words_for(kWindow));
    wire::ReplayWindow window{words, kWindow};
    uint64_t next = 0;
};

ReplayStep::ReplayStep() : state_(std::make_unique<State>()) {}
ReplayStep::~ReplayStep() = default;

// Numbers come a little out of order, as streams do: 1, 0, 3, 2, …
uint64_t ReplayStep::step() {
    const uint64_t number = state_->next++ ^ 1;
    return (state_->window.check(number) ? 1u : 0u) + (state_->window.test_and_set(number) ? 1u : 0u);
}

RecordPair::RecordPair(crypto::Suite suite, size_t content_size)
    : sealing_(some_key(suite)),
      opening_(some_key(suite)),
      content_size_(content_size),
      buffer_(wire::kRecordOverhead + content_size) {
    aead_.expand(suite, sealing_.key_bytes());
}

size_t RecordPair::seal() {
    sealing_.bytes = 0;  // a benchmark moves more than one key may
    record_size_ = wire::seal_record(aead_, sealing_, buffer_.data(), content_size_, wire::ContentType::data);
    return record_size_;
}

size_t RecordPair::open() {
    opening_.bytes = 0;
    opening_.sequence = sealing_.sequence - 1;
    const auto size = wire::record_size(buffer_);
    QANAT_ASSERT(size && *size == record_size_);
    const auto opened = wire::open_record(aead_, opening_, MutableBytes(buffer_).first(*size));
    QANAT_ASSERT(opened);
    return opened->content.size();
}

}  // namespace qanat::perf
