// The trust boundary between the planes. Byte 0: the message type; the rest is the message, cut or filled up with zeros
// to its size unless byte 1 says otherwise. What the codec lets through must be safe for those who receive it.
#include <cstring>
#include <vector>

#include "common/ring/codec.h"
#include "dataplane/exit/policy.h"
#include "dataplane/route/plan.h"
#include "dataplane/socks5/users.h"
#include "dataplane/tunnel/shared_session.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using namespace qanat;

template <class Message>
Message copy_of(Bytes bytes) {
    Message message;
    std::memcpy(&message, bytes.data(), sizeof(message));
    return message;
}

void receive(ring::MessageType type, Bytes bytes) {
    if (type == ring::PlanPart::kType) {
        static dataplane::RoutingPlan plan;
        plan.accept_any_version();
        FUZZ_CHECK(plan.apply(copy_of<ring::PlanPart>(bytes)) != dataplane::PartOutcome::invalid);
        dataplane::PickState state;
        const auto* hop = plan.pick(
            state, bytes[0], {}, [](const ring::PlanHop&) { return true; }, [](uint32_t) { return 0U; });
        FUZZ_CHECK(hop == nullptr || hop->state == ring::HopState::up);
    } else if (type == ring::PolicyPart::kType) {
        static dataplane::ExitPolicy policy;
        policy.accept_any_version();
        FUZZ_CHECK(policy.apply(copy_of<ring::PolicyPart>(bytes)) != dataplane::PartOutcome::invalid);
        const auto verdict = policy.check(wire::IpAddress::v4(bytes[0], bytes[1], bytes[2], bytes[3]));
        FUZZ_CHECK(!dataplane::describe(verdict.rule).empty());
    } else if (type == ring::Users::kType) {
        const dataplane::Socks5Users users(copy_of<ring::Users>(bytes));
        FUZZ_CHECK(users.accept(as_bytes("u"), as_bytes("p")) || users.required);
    } else if (type == ring::InstallSession::kType) {
        const auto install = copy_of<ring::InstallSession>(bytes);
        FUZZ_CHECK(dataplane::SharedSession::valid(install));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Bytes input(data, size);
    const auto type = static_cast<ring::MessageType>(fuzz::take_byte(input));
    const bool as_it_is = fuzz::take_byte(input) == 0xff;
    // An exact copy on the heap: the sanitizer sees a read of one byte too many.
    std::vector<uint8_t> bytes(input.begin(), input.end());
    if (!as_it_is) bytes.resize(ring::message_size(type));
    const ring::CodecError error = ring::validate(type, bytes);
    FUZZ_CHECK(!ring::codec_error_name(error).empty());
    if (error != ring::CodecError::none) return 0;
    FUZZ_CHECK(bytes.size() == ring::message_size(type));
    receive(type, bytes);
    return 0;
}
