// The answers of relays: the same bytes, at once and in pieces, lead to the same end. Byte 0: how many relays, and how
// the input is cut. The rest: what the relays send, each with the right keys unless the input says otherwise: u8 what,
// u8 size, bytes.
#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "dataplane/tunnel/chain.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/support/node_side.h"
#include "tests/unit/dataplane/tunnel/install_session.h"

namespace {

using namespace qanat;
using namespace qanat::dataplane;
using dataplane::testing::NodeSide;
using Kind = Chain::Step::Kind;
using ByteVector = std::vector<uint8_t>;

// The sessions with all relays, made once.
struct Relays {
    Relays() {
        for (uint32_t i = 0; i < ring::kViaMax; ++i) {
            installs.push_back(install_session(100 + i, 10 + i));
            FUZZ_CHECK(sessions.install(std::make_shared<SharedSession>(installs.back())));
            via.push_back({.node = 10 + i, .next = {}});
        }
    }
    SessionTable sessions{8};
    std::vector<ring::InstallSession> installs;
    std::vector<ring::Via> via;
};

Relays& relays() {
    static Relays made;
    return made;
}

ByteVector begin(Chain& chain, size_t count) {
    ByteVector flight(Chain::kFlightMax);
    FUZZ_CHECK(chain.begin(relays().sessions, std::span(relays().via).first(count), {}));
    for (size_t i = 0; i < count; ++i) relays().sessions.find(100 + i)->next_stream.store(0);
    const auto size = chain.compose(relays().sessions, flight, std::array<wire::Random, ring::kViaMax>{});
    FUZZ_CHECK(size.has_value() && *size == count * wire::kRequestFlightMultiple);
    flight.resize(*size);
    return flight;
}

void append(ByteVector& to, Bytes from) {
    to.insert(to.end(), from.begin(), from.end());
}

// What comes back, as the input tells it.
ByteVector answers_of(Bytes script, ByteVector flight, size_t count) {
    std::vector<NodeSide> nodes;
    std::span<uint8_t> rest = flight;
    for (size_t i = 0; i < count; ++i) {
        FUZZ_CHECK(nodes.emplace_back(relays().installs[i]).read_request(rest).has_value());
        rest = rest.subspan(nodes.back().consumed);
    }
    ByteVector out;
    size_t answering = 0;
    ByteReader in(script);
    while (in.remaining() > 0) {
        NodeSide& node = nodes[std::min(answering, count - 1)];
        const uint8_t what = in.u8();
        const Bytes bytes = in.bytes(std::min<size_t>(in.u8(), in.remaining()));
        const auto type = static_cast<wire::ContentType>(21 + what / 8 % 3);
        switch (what % 4) {
            case 0:
                append(out, bytes);
                break;
            case 1:
                append(out, node.answer_preamble());
                break;
            case 2:
                append(out, node.answer(static_cast<wire::StreamStatus>(what / 4 % 16)));
                ++answering;
                break;
            default:  // any record; without a preamble before it, under a key of zeros
                append(out, node.seal(bytes, bytes.empty() ? wire::ContentType::data : type, what));
                break;
        }
    }
    return out;
}

struct End {
    Kind kind = Kind::need_more;
    wire::StreamStatus status{};
    size_t consumed = 0;
    uint32_t at = 0;
    bool operator==(const End&) const = default;
};

// A new chain, whose caller has one buffer, as it is opened in place.
End run(Bytes script, size_t count, size_t piece) {
    Chain chain;
    const ByteVector answers = answers_of(script, begin(chain, count), count);
    End end;
    ByteVector buffer;
    for (size_t from = 0; from < answers.size() && end.kind == Kind::need_more;) {
        const size_t size = std::min(piece, answers.size() - from);
        append(buffer, Bytes(answers).subspan(from, size));
        from += size;
        const Chain::Step step = chain.feed(buffer);
        FUZZ_CHECK(step.consumed <= buffer.size());
        buffer.erase(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(step.consumed));
        FUZZ_CHECK(step.kind != Kind::need_more || buffer.size() < Chain::kAnswerMax);
        FUZZ_CHECK(chain.open() == (step.kind == Kind::open));
        end = {.kind = step.kind, .status = step.status, .consumed = end.consumed + step.consumed, .at = chain.at()};
    }
    return end;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const uint8_t choice = fuzz::take_byte(input);
    const size_t count = 1 + choice % ring::kViaMax;
    const End at_once = run(input, count, SIZE_MAX);
    FUZZ_CHECK(run(input, count, 1) == at_once);
    FUZZ_CHECK(run(input, count, 2 + choice) == at_once);
    return 0;
}
