#include "tests/support/relay_engines.h"

namespace qanat::dataplane::testing {
namespace {

uint64_t session_of(uint8_t member) {
    return 2000 + member;
}

}  // namespace

RelayEngines::RelayEngines(uint32_t engines, ring::DataPlaneLimits limits, uint32_t pipes, uint32_t chunks)
    : inboxes_(std::move(*Inboxes::make(engines))) {
    RelayRole role{.members = &members_, .pipes = pipes, .engine = 0, .inboxes = {}, .inbox = -1};
    for (const UniqueFd& inbox : inboxes_.send_ends) role.inboxes.push_back(inbox.get());
    ring::NodeKeys keys{};
    keys.header_key.fill(0x5a);
    for (uint32_t i = 0; i < engines; ++i) {
        role.engine = i;
        role.inbox = inboxes_.receive_ends[i].get();
        engines_.push_back(std::make_unique<LoneEngine>(limits, chunks, registry_, role));
        engines_[i]->tell(keys);
        ports_.push_back(engines_[i]->listen(ring::ListenerKind::tunnel));
    }
    set(kUnlimited);
}

void RelayEngines::set(const ring::RelaySettings& settings) {
    for (const auto& engine : engines_) engine->tell(settings);
}

MemberId RelayEngines::id_of(uint8_t member) {
    MemberId id;
    id.fill(member);
    return id;
}

void RelayEngines::install(uint8_t member) {
    ring::InstallSession install{};
    install.session_id = session_of(member);
    install.window = 8192;
    install.suite = static_cast<uint8_t>(crypto::Suite::aes_128_gcm);
    install.data_secret.fill(static_cast<uint8_t>(install.session_id));
    install.side = ring::SessionSide::node;
    install.peer = id_of(member);
    for (const auto& engine : engines_) engine->tell(install);
}

RawStream RelayEngines::connect(uint8_t member, uint32_t engine) {
    if (!std::exchange(installed_[member], true)) install(member);
    return RawStream(ports_[engine], next_number_++, session_of(member));
}

RawStream RelayEngines::offer(uint8_t member, uint32_t engine) {
    RawStream stream = connect(member, engine);
    stream.socket().send(stream.request(wire::RequestKind::offer));
    EXPECT_EQ(stream.response(), wire::StreamStatus::parked);
    return stream;
}

std::string RelayEngines::forward(RawStream& stream, uint8_t next, std::optional<wire::Endpoint> hint) {
    return stream.request(wire::Request{
        .kind = wire::RequestKind::forward, .keep = false, .target = {}, .next = {.id = id_of(next), .hint = hint}});
}

}  // namespace qanat::dataplane::testing
